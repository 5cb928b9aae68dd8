//! Documents that clients carry for us and can't change: as `itsdangerous.URLSafeSerializer` makes them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::{Digest, Sha1};

/// A document as a token. The compression of long ones is optional to read, so it is left out.
pub(crate) fn dumps(secret: &str, document: &Value) -> String {
    let payload = URL_SAFE_NO_PAD.encode(document.to_string());
    let signature = mac(secret, &payload).map(|mac| mac.finalize().into_bytes().to_vec());
    format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature.unwrap_or_default()))
}

/// The document of a token; `None` if nobody signed it with this secret.
pub(crate) fn loads(secret: &str, token: &str) -> Option<Value> {
    let (payload, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    mac(secret, payload)?.verify_slice(&signature).ok()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn mac(secret: &str, payload: &str) -> Option<Hmac<Sha1>> {
    let key = Sha1::digest(format!("itsdangeroussigner{secret}"));
    let mut mac = Hmac::<Sha1>::new_from_slice(&key).ok()?;
    mac.update(payload.as_bytes());
    Some(mac)
}

/// The token by which clients name a Dag's file. `secret` is `[api] secret_key`.
pub fn file_token(secret: &str, bundle_name: &str, relative_fileloc: &str) -> String {
    dumps(secret, &json!({"bundle_name": bundle_name, "relative_fileloc": relative_fileloc}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_those_of_itsdangerous_and_no_others_are_read() {
        let document = json!({"bundle_name": "b", "relative_fileloc": "a.py"});
        let token = "eyJidW5kbGVfbmFtZSI6ImIiLCJyZWxhdGl2ZV9maWxlbG9jIjoiYS5weSJ9.Kv7eEX9aRXax_OfbMCX4j8lT2yk";
        assert_eq!(dumps("k", &document), token);
        assert_eq!(loads("k", token), Some(document));
        let changed = token.replacen("eyJi", "eyJj", 1);
        for bad in ["", ".", "x", "nonsense", &changed, &format!("{token}A"), token.trim_end_matches('k')] {
            assert_eq!(loads("k", bad), None, "{bad}");
        }
        assert_eq!(loads("other", token), None);
    }
}
