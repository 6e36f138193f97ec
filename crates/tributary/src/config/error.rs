//! A configuration that cannot be used.

use figment::error::Kind;

/// The process does not start; exit code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A setting's value.
    #[error("{0}")]
    Value(String),
    /// A setting that has to be given.
    #[error("{0} is missing: give --{flag}, TRIBUTARY_{variable}, or {0} in the file of --config",
            flag = .0.replace('_', "-"), variable = .0.to_uppercase())]
    Missing(String),
    /// A setting that there is not.
    #[error("unknown setting '{name}' in {place}")]
    Unknown {
        /// Its name as it stands there.
        name: String,
        /// Where.
        place: String,
    },
}

impl ConfigError {
    pub(crate) fn value(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::Value(format!("{name}: {reason}"))
    }
}

impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        let place = match error.metadata.as_ref() {
            Some(metadata) => match &metadata.source {
                Some(figment::Source::File(path)) => path.display().to_string(),
                _ => metadata.name.to_string(),
            },
            None => String::new(),
        };
        let name = error.path.join(".");
        match error.kind {
            Kind::MissingField(field) => Self::Missing(field.into_owned()),
            Kind::UnknownField(field, _) => Self::Unknown { name: field, place },
            kind => {
                let reason = kind.to_string();
                let reason = reason.trim().replace('\n', " ");
                match (name.as_str(), place.as_str()) {
                    ("", "") => Self::Value(reason),
                    ("", place) => Self::Value(format!("{place}: {reason}")),
                    (name, "") => Self::Value(format!("{name}: {reason}")),
                    (name, place) => Self::Value(format!("{name}: {reason}, in {place}")),
                }
            }
        }
    }
}
