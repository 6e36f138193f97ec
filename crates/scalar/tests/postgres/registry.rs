//! Nothing is native that the other tests do not compare with PostgreSQL: all of `pg_proc` and `pg_type` is tried.

use scalar::{Compiled, is_native};
use types::{Oid, PgType, Scalar, ScalarKind, collation, oid};

use crate::casts::{FROM_TEXT, via_text};
use crate::functions::{AT_ZONE, OF_PARTS, TYPES, column, functions};
use crate::server::{Server, own};

/// `pi()` has no arguments; below.
const PI: Oid = 1610;

/// `||` of text and anything, which `text_concatenates_with_anything_as_its_cast_does` compares.
const CONCATENATIONS: [Oid; 2] = [2003, 2004];

#[tokio::test]
async fn every_native_function_is_compared() {
    let server = Server::start().await;
    let tried = functions(&server).await;
    let tried = tried.iter().filter(|f| is_native(&f.scalar(collation::C), &server.env).is_ok());
    let mut compared: Vec<Oid> = tried.map(|f| f.oid).collect();
    compared.extend(OF_PARTS.map(|f| f.0));
    compared.extend(CONCATENATIONS);
    compared.push(PI);
    let kind = ScalarKind::Call { func: PI, args: Vec::new(), collation: 0 };
    let pi = Compiled::new(&Scalar { kind, ty: PgType::plain(oid::FLOAT8) }, &server.env).unwrap();
    let theirs: f64 = server.client.query_one("SELECT pi()", &[]).await.unwrap().get(0);
    assert_eq!(own(&pi, &[]), Ok(Some(theirs.to_be_bytes().to_vec())));
    compared.extend(AT_ZONE.map(|f| f.0));
    let sql = "SELECT oid, proname::text, proargtypes::oid[], prorettype FROM pg_proc WHERE prokind = 'f' ORDER BY oid";
    let (mut native, mut left_out) = (0, Vec::new());
    for row in server.client.query(sql, &[]).await.unwrap() {
        let (func, name, args, result): (Oid, String, Vec<Oid>, Oid) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let columns = |first: Option<&str>| {
            let mut all: Vec<Scalar> = args.iter().enumerate().map(|(i, ty)| column(i, *ty)).collect();
            if let (Some(text), Some(arg)) = (first, all.first_mut()) {
                *arg = Scalar { kind: ScalarKind::Const(Some(text.into())), ty: PgType::plain(oid::TEXT) };
            }
            all
        };
        // Parts and zones are constants where they are native.
        let is = [None, Some("day"), Some("UTC")].into_iter().any(|first| {
            let kind = ScalarKind::Call { func, args: columns(first), collation: collation::C };
            is_native(&Scalar { kind, ty: PgType::plain(result) }, &server.env).is_ok()
        });
        native += usize::from(is);
        if is && !compared.contains(&func) {
            left_out.push(format!("{func} {name}"));
        }
    }
    assert!(native > 350, "{native}");
    assert!(left_out.is_empty(), "native, and compared with nothing: {left_out:?}");
}

#[tokio::test]
async fn every_native_cast_by_way_of_text_is_compared() {
    let server = Server::start().await;
    let sql = "SELECT oid, typname::text FROM pg_type WHERE typtype IN ('b', 'e', 'r', 'd') ORDER BY oid";
    let mut left_out = Vec::new();
    for row in server.client.query(sql, &[]).await.unwrap() {
        let (ty, name): (Oid, String) = (row.get(0), row.get(1));
        let native = |from, to| Compiled::new(&via_text(from, to), &server.env).is_ok();
        let written = TYPES.iter().any(|t| t.0 == ty) || ty == oid::UUID || ty == server.mood;
        if native(ty, oid::TEXT) && !written {
            left_out.push(format!("{name} to text"));
        }
        // Texts among themselves are compared as functions.
        let text = [oid::TEXT, oid::VARCHAR, oid::BPCHAR, oid::NAME].contains(&ty);
        if native(oid::TEXT, ty) && !text && FROM_TEXT.iter().all(|t| t.0 != ty) {
            left_out.push(format!("text to {name}"));
        }
    }
    assert!(left_out.is_empty(), "native, and compared with nothing: {left_out:?}");
}
