//! Logging in, as a replication connection and as an SQL session: passwords, TLS, and clear refusals.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::Command;

use testkit::{Auth, Cluster, ClusterOptions, Kind, PASSWORD};
use wal::{Endpoint, ReplicationConnection, WalError, connect};

async fn both(url: &str) -> (Result<(), WalError>, Result<(), WalError>) {
    let endpoint = Endpoint::parse(url).unwrap();
    let replication = async {
        let mut connection = ReplicationConnection::connect(&endpoint, "test").await?;
        let identity = connection.identify_system().await?;
        assert!(identity.position.0 > 0 && identity.timeline == 1 && !identity.system_identifier.is_empty());
        connection.close().await;
        Ok(())
    };
    let session = async {
        let client = connect(&endpoint, "test").await?;
        let row = client.query_one("SELECT current_setting('application_name')", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "test");
        Ok(())
    };
    (replication.await, session.await)
}

async fn works(url: &str) {
    let (replication, session) = both(url).await;
    replication.unwrap_or_else(|e| panic!("replication, {url}: {e}"));
    session.unwrap_or_else(|e| panic!("sql, {url}: {e}"));
}

/// Refused both ways with an error of this kind that names the reason and never passes by itself.
async fn refused(url: &str, kind: fn(&WalError) -> bool, reason: &str) {
    let (replication, session) = both(url).await;
    for error in [replication.unwrap_err(), session.unwrap_err()] {
        assert!(kind(&error) && !error.is_transient(), "{url}: {error:?}");
        assert!(error.to_string().contains(reason), "{url}: {error}");
        assert!(!error.to_string().contains('\n'), "one line: {error}");
    }
}

async fn hba(cluster: &Cluster, lines: &str) {
    let keep = "host all postgres 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(cluster.node(0).data_dir.join("pg_hba.conf"), format!("{lines}{keep}")).unwrap();
    cluster.reload(0).await.unwrap();
}

fn login(error: &WalError) -> bool {
    matches!(error, WalError::Login { .. })
}

fn tls(error: &WalError) -> bool {
    matches!(error, WalError::Tls { .. })
}

#[tokio::test]
async fn every_kind_of_password_opens_both_kinds_of_connection() {
    let options = ClusterOptions { auth: Auth::Scram, ..ClusterOptions::new(Kind::Single) };
    let cluster = Cluster::start_with(options).await.unwrap();
    works(&cluster.url()).await;
    refused(&cluster.url_as(0, "postgres", "wrong"), login, "password authentication failed").await;
    refused(&cluster.url_as(0, "postgres", ""), login, "password").await;
    refused(&cluster.url_as(0, "nobody", "x"), login, "nobody").await;
    refused(&cluster.url().replace("/app", "/nothing"), login, "\"nothing\" does not exist").await;

    let client = connect(&Endpoint::parse(&cluster.url()).unwrap(), "test").await.unwrap();
    let roles = format!(
        "SET password_encryption = 'md5'; CREATE ROLE old LOGIN REPLICATION PASSWORD '{PASSWORD}';
         CREATE ROLE open LOGIN REPLICATION PASSWORD '{PASSWORD}'; CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'"
    );
    client.batch_execute(&roles).await.unwrap();
    hba(&cluster, "host all old 127.0.0.1/32 md5\nhost all open,plain 127.0.0.1/32 password\n").await;
    works(&cluster.url_as(0, "old", PASSWORD)).await;
    works(&cluster.url_as(0, "open", PASSWORD)).await;
    refused(&cluster.url_as(0, "old", "wrong"), login, "password authentication failed").await;

    let plain = Endpoint::parse(&cluster.url_as(0, "plain", PASSWORD)).unwrap();
    connect(&plain, "test").await.unwrap();
    let error = ReplicationConnection::connect(&plain, "test").await.unwrap_err();
    assert!(matches!(error, WalError::NoRight { .. }) && error.to_string().contains("REPLICATION"), "{error}");
}

#[tokio::test]
async fn tls_checks_what_its_mode_says() {
    let options = ClusterOptions { auth: Auth::Scram, tls: true, ..ClusterOptions::new(Kind::Single) };
    let cluster = Cluster::start_with(options.setting("listen_addresses", "*")).await.unwrap();
    let everyone = "hostssl all all 127.0.0.0/8 scram-sha-256\n";
    hba(&cluster, everyone).await;
    let ca = cluster.ca().unwrap().display().to_string();
    let url = |query: &str| format!("{}?{query}", cluster.url());

    // Scram over TLS is bound to the channel: a wrong binding would be refused.
    works(&url("sslmode=prefer")).await;
    works(&url("sslmode=require")).await;
    works(&url(&format!("sslmode=verify-ca&sslrootcert={ca}"))).await;
    works(&url(&format!("sslmode=verify-full&sslrootcert={ca}"))).await;
    let name = cluster.url().replace("127.0.0.1", "localhost");
    works(&format!("{name}?sslmode=verify-full&sslrootcert={ca}")).await;

    // The certificate is not for this address.
    let other = cluster.url().replace("127.0.0.1", "127.0.0.2");
    works(&format!("{other}?sslmode=verify-ca&sslrootcert={ca}")).await;
    refused(&format!("{other}?sslmode=verify-full&sslrootcert={ca}"), tls, "127.0.0.2").await;
    // No public authority has signed it.
    refused(&url("sslmode=verify-full"), tls, "UnknownIssuer").await;
    refused(&url("sslmode=verify-full&sslrootcert=/nothing.pem"), tls, "/nothing.pem").await;

    // A server's own self-signed certificate, trusted by itself.
    let directory = cluster.ca().unwrap().parent().unwrap();
    let file = |name: &str| directory.join(name);
    let made = Command::new("openssl")
        .args(["req", "-x509", "-days", "2", "-subj", "/CN=own", "-newkey", "rsa:2048", "-nodes"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
        .arg(file("own.key"))
        .arg("-out")
        .arg(file("own.crt"))
        .output()
        .unwrap();
    assert!(made.status.success());
    // Into the files that the server reads, which are its user's.
    std::fs::write(file("server.key"), std::fs::read(file("own.key")).unwrap()).unwrap();
    std::fs::write(file("server.crt"), std::fs::read(file("own.crt")).unwrap()).unwrap();
    cluster.reload(0).await.unwrap();
    let own = file("own.crt").display().to_string();
    works(&url(&format!("sslmode=verify-full&sslrootcert={own}"))).await;
    refused(&format!("{other}?sslmode=verify-full&sslrootcert={own}"), tls, "127.0.0.2").await;
    refused(&url(&format!("sslmode=verify-full&sslrootcert={ca}")), tls, "certificate").await;
}

#[tokio::test]
async fn a_server_without_tls_serves_only_those_who_can_do_without() {
    let cluster = Cluster::start(Kind::Single).await.unwrap();
    works(&format!("{}?sslmode=prefer", cluster.url())).await;
    works(&format!("{}?sslmode=disable", cluster.url())).await;
    refused(&format!("{}?sslmode=require", cluster.url()), tls, "TLS").await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_worth_another_try() {
    // Below the ports that anybody is given.
    let port = 9;
    let (replication, session) = both(&format!("postgres://a@127.0.0.1:{port}/x")).await;
    for error in [replication.unwrap_err(), session.unwrap_err()] {
        assert!(matches!(error, WalError::Unreachable { .. }) && error.is_transient(), "{error:?}");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
}
