//! `tributary demo` as a newcomer runs it.

use std::process::{Command, Output};

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tributary"))
        .arg("demo")
        .args(arguments)
        .env_remove("TRIBUTARY_ENDPOINT")
        .output()
        .expect("the program starts")
}

fn assert_shows_all(output: &Output) -> String {
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert!(!stdout.contains('\x1b') && !stdout.contains('\r'), "plain lines where there is no terminal: {stdout}");
    for told in ["region_revenue: 6 rows exact", "frontier ", "delay ", "0 wrong", "is exact at cut", "5 stream tables"]
    {
        assert!(stdout.contains(told), "'{told}' is not in\n{stdout}");
    }
    assert_eq!(stdout.matches("verify    ").count(), 5, "{stdout}");
    assert!(stdout.trim_end().ends_with("all exact."), "{stdout}");
    stdout
}

#[test]
fn the_demo_keeps_a_shop_exact_on_what_is_installed() {
    let stdout = assert_shows_all(&demo(&["--seconds", "3"]));
    let citus = testkit::citus_available();
    assert_eq!(stdout.starts_with("Citus is installed"), citus, "{stdout}");
}

#[test]
fn the_demo_keeps_a_shop_exact_over_postgres_fdw() {
    assert_shows_all(&demo(&["--seconds", "3", "--fdw"]));
}
