//! The `tls-server-end-point` value of RFC 5929 that SCRAM-SHA-256-PLUS binds a login to: a hash of the server's
//! certificate by the hash function of its signature.

use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};

/// The binding for a certificate in DER; `None` when its signature names no hash function (Ed25519, RSA-PSS), where
/// the RFC leaves it undefined and a login goes without binding.
pub(crate) fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let algorithm = signature_hash(signature_oid(certificate)?)?;
    Some(digest(algorithm, certificate).as_ref().to_vec())
}

/// `Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { OID, … }, … }`
fn signature_oid(certificate: &[u8]) -> Option<&[u8]> {
    let (outer, _) = element(certificate, 0x30)?;
    let (_, behind_tbs) = element(outer, 0x30)?;
    let (algorithm, _) = element(behind_tbs, 0x30)?;
    element(algorithm, 0x06).map(|(oid, _)| oid)
}

/// The content of a DER element with this tag, and what lies behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, mut rest) = rest.split_first()?;
    let length = if length < 0x80 {
        usize::from(length)
    } else {
        let (digits, behind) = rest.split_at_checked(usize::from(length & 0x7F))?;
        rest = behind;
        digits.iter().try_fold(0usize, |sum, digit| Some(sum.checked_mul(256)? + usize::from(*digit)))?
    };
    (first == tag).then(|| rest.split_at_checked(length))?
}

/// MD5 and SHA-1 are replaced by SHA-256, as the RFC says.
fn signature_hash(oid: &[u8]) -> Option<&'static Algorithm> {
    const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04];
    if let Some(kind) = oid.strip_prefix(RSA) {
        return match kind {
            [4 | 5 | 11] => Some(&SHA256),
            [12] => Some(&SHA384),
            [13] => Some(&SHA512),
            _ => None,
        };
    }
    match oid.strip_prefix(ECDSA)? {
        [1] | [3, 2] => Some(&SHA256),
        [3, 3] => Some(&SHA384),
        [3, 4] => Some(&SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outline of a certificate signed with the given algorithm.
    fn certificate(oid: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| [&[tag, 0x82, 0, content.len() as u8], content].concat();
        let algorithm = wrap(0x30, &[&[0x06, oid.len() as u8], oid, &[5, 0]].concat());
        wrap(0x30, &[wrap(0x30, b"tbs"), algorithm, vec![3, 1, 0]].concat())
    }

    #[test]
    fn the_hash_is_that_of_the_signature() {
        for (oid, length) in [
            (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 11][..], 32),
            (&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 13], 64),
            (&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 3, 3], 48),
        ] {
            assert_eq!(tls_server_end_point(&certificate(oid)).map(|b| b.len()), Some(length));
        }
        assert_eq!(tls_server_end_point(&certificate(&[0x2B, 0x65, 0x70])), None);
    }

    #[test]
    fn damaged_certificates_have_no_binding() {
        let whole = certificate(&[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 11]);
        for cut in 0..whole.len() - 20 {
            assert_eq!(tls_server_end_point(&whole[..cut]), None);
        }
        assert_eq!(tls_server_end_point(&[0x30, 0xFF, 1, 2, 3]), None);
    }
}
