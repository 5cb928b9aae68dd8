//! The token by which clients name a Dag's file: signed, so that nobody can name another.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha1::{Digest, Sha1};

/// As `itsdangerous.URLSafeSerializer` makes it, whose compression of long texts is optional to read.
pub(super) fn file_token(secret: &str, bundle_name: &str, relative_fileloc: &str) -> String {
    let payload = json!({"bundle_name": bundle_name, "relative_fileloc": relative_fileloc}).to_string();
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let key = Sha1::digest(format!("itsdangeroussigner{secret}"));
    let signature = Hmac::<Sha1>::new_from_slice(&key).map(|mut mac| {
        mac.update(payload.as_bytes());
        mac.finalize().into_bytes().to_vec()
    });
    format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_token_is_the_one_that_itsdangerous_makes() {
        let token = "eyJidW5kbGVfbmFtZSI6ImIiLCJyZWxhdGl2ZV9maWxlbG9jIjoiYS5weSJ9.Kv7eEX9aRXax_OfbMCX4j8lT2yk";
        assert_eq!(super::file_token("k", "b", "a.py"), token);
    }
}
