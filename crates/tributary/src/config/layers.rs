//! File, environment and flags, one over the other.

use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{ConfigError, NAMES};

const PREFIX: &str = "TRIBUTARY_";

/// Variables that are no settings: the command line's own, those of tests, and what Kubernetes sets in every container
/// beside a service of this name.
const OTHERS: [&str; 7] = ["ENDPOINT", "CONFIG", "SEED", "LONG", "REQUIRE_CITUS", "SETUP_PASSWORD", "KEEP"];
const KUBERNETES: [&str; 2] = ["PORT", "SERVICE_"];

/// Flags of the role and those of every command, those that were given.
pub(crate) fn merge(flags: &impl Serialize, log: &impl Serialize) -> Result<Dict, ConfigError> {
    let mut all = Dict::new();
    for given in [Value::serialize(flags)?, Value::serialize(log)?] {
        all.extend(given.into_dict().unwrap_or_default());
    }
    Ok(all)
}

/// The settings of a role that knows these names.
pub(crate) fn load<S: DeserializeOwned>(
    file: Option<&Path>,
    names: impl IntoIterator<Item = &'static str>,
    flags: Dict,
) -> Result<S, ConfigError> {
    check_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
    let names: Vec<_> = names.into_iter().collect();
    let mut figment = Figment::new();
    if let Some(file) = file {
        // Read here for the system's own error; figment says only that there is no such file.
        let unreadable = |e| ConfigError::value(&file.display().to_string(), e);
        std::fs::File::open(file).map(drop).map_err(unreadable)?;
        figment = figment.merge(Toml::file_exact(file));
    }
    let figment = figment.merge(Env::prefixed(PREFIX).only(&names)).merge(Serialized::defaults(flags));
    Ok(figment.extract()?)
}

/// Notices a variable that looks like a setting and is none.
fn check_variables(variables: impl Iterator<Item = String>) -> Result<(), ConfigError> {
    for variable in variables {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let known = NAMES.iter().any(|n| n.eq_ignore_ascii_case(name))
            || OTHERS.contains(&name)
            || name.starts_with("TEST_")
            || KUBERNETES.iter().any(|k| name.starts_with(k) || name.contains(&format!("_{k}")));
        if !known {
            return Err(ConfigError::Unknown { name: variable, place: "the environment".into() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_nobody_knows_is_named() {
        let check = |names: &[&str]| check_variables(names.iter().map(ToString::to_string)).map_err(|e| e.to_string());
        check(&["HOME", "TRIBUTARY_LISTEN", "TRIBUTARY_NODE", "TRIBUTARY_ENDPOINT", "TRIBUTARY_TEST_X"]).unwrap();
        check(&["TRIBUTARY_SERVICE_HOST", "TRIBUTARY_PORT_7420_TCP", "TRIBUTARY_COORDINATOR_SERVICE_PORT"]).unwrap();
        assert_eq!(check(&["TRIBUTARY_LISTN"]).unwrap_err(), "unknown setting 'TRIBUTARY_LISTN' in the environment");
    }
}
