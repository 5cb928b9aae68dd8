//! JSON web tokens, signed with HMAC-SHA-512 as Airflow's are.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha512;
use uuid::Uuid;

use axum::http::StatusCode;

use super::{AuthSettings, Role, User};
use crate::error::ApiError;

/// Makes and reads tokens.
pub(crate) struct Tokens {
    settings: AuthSettings,
}

/// Why a token counts for nothing.
#[derive(Debug, PartialEq, Eq)]
enum BadToken {
    Expired,
    Invalid,
}

impl Tokens {
    pub(crate) fn new(settings: AuthSettings) -> Self {
        Self { settings }
    }

    pub(crate) fn settings(&self) -> &AuthSettings {
        &self.settings
    }

    /// A token that says who somebody is, for so many seconds.
    pub(crate) fn issue(&self, name: &str, role: &str, seconds: u64) -> String {
        self.issue_at(name, role, seconds, Timestamp::now().as_second())
    }

    fn issue_at(&self, name: &str, role: &str, seconds: u64, now: i64) -> String {
        let header = json!({"alg": "HS512", "kid": "not-used", "typ": "JWT"});
        let mut claims = json!({
            "sub": name,
            "role": role,
            "teams": [],
            "jti": Uuid::new_v4().simple().to_string(),
            "nbf": now,
            "exp": now.saturating_add_unsigned(seconds),
            "iat": now,
        });
        if !self.settings.issuer.is_empty() {
            claims["iss"] = json!(self.settings.issuer);
        }
        if !self.settings.audience.is_empty() {
            claims["aud"] = json!(self.settings.audience);
        }
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.mac(&signed).map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// `None` for no key, which HMAC takes of any length.
    fn mac(&self, signed: &str) -> Option<Hmac<Sha512>> {
        let mut mac = Hmac::<Sha512>::new_from_slice(self.settings.secret.as_bytes()).ok()?;
        mac.update(signed.as_bytes());
        Some(mac)
    }

    /// The user that a token names.
    pub(crate) fn user(&self, token: &str) -> Result<User, ApiError> {
        self.user_at(token, Timestamp::now().as_second()).map_err(|error| match error {
            BadToken::Expired => ApiError::new(StatusCode::UNAUTHORIZED, "Token Expired"),
            BadToken::Invalid => ApiError::new(StatusCode::FORBIDDEN, "Invalid JWT token"),
        })
    }

    fn user_at(&self, token: &str, now: i64) -> Result<User, BadToken> {
        let claims = self.verified_claims(token).ok_or(BadToken::Invalid)?;
        let leeway = i64::try_from(self.settings.leeway).unwrap_or(i64::MAX);
        let moment = |name: &str| claims.get(name).and_then(Value::as_f64).map(|at| at as i64).ok_or(BadToken::Invalid);
        let (expiry, issued, not_before) = (moment("exp")?, moment("iat")?, moment("nbf")?);
        if issued.max(not_before) > now.saturating_add(leeway) {
            return Err(BadToken::Invalid);
        }
        if expiry <= now.saturating_sub(leeway) {
            return Err(BadToken::Expired);
        }
        let names = |claim: &Value, wanted: &str| match claim {
            Value::Array(list) => list.iter().any(|item| item == wanted),
            other => other == wanted,
        };
        let wanted = [("aud", &self.settings.audience), ("iss", &self.settings.issuer)];
        if wanted.iter().any(|(claim, wanted)| !wanted.is_empty() && !names(&claims[*claim], wanted)) {
            return Err(BadToken::Invalid);
        }
        let name = claims["sub"].as_str().ok_or(BadToken::Invalid)?.to_owned();
        Ok(User { name, role: claims["role"].as_str().and_then(Role::named) })
    }

    /// The claims of a token whose signature is ours.
    fn verified_claims(&self, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Value = serde_json::from_slice(&decode(header)?).ok()?;
        if header["alg"] != "HS512" {
            return None;
        }
        self.mac(signed)?.verify_slice(&decode(signature)?).ok()?;
        serde_json::from_slice(&decode(claims)?).ok().filter(Value::is_object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(secret: &str) -> Tokens {
        Tokens::new(AuthSettings {
            all_admins: false,
            users: Vec::new(),
            passwords_file: "none".into(),
            secret: secret.into(),
            expiration: 60,
            cli_expiration: 60,
            audience: "apache-airflow".into(),
            issuer: String::new(),
            leeway: 10,
        })
    }

    #[test]
    fn a_token_says_who_somebody_is_until_it_expires() {
        let tokens = tokens("secret");
        let token = tokens.issue_at("ann", "op", 100, 1000);
        let ann = User { name: "ann".into(), role: Some(Role::Op) };
        assert_eq!(tokens.user_at(&token, 1000), Ok(ann.clone()));
        assert_eq!(tokens.user_at(&token, 1109), Ok(ann));
        assert_eq!(tokens.user_at(&token, 1110), Err(BadToken::Expired));
        assert_eq!(tokens.user_at(&token, 989), Err(BadToken::Invalid));
    }

    #[test]
    fn a_token_that_somebody_else_made_counts_for_nothing() {
        let ours = tokens("secret");
        assert_eq!(ours.user_at(&tokens("other").issue_at("ann", "admin", 100, 0), 0), Err(BadToken::Invalid));
        let token = ours.issue_at("ann", "viewer", 100, 0);
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"ann","role":"admin","exp":100,"iat":0,"nbf":0}"#);
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(ours.user_at(&format!("{}.{claims}.{}", parts[0], parts[2]), 0), Err(BadToken::Invalid));
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert_eq!(ours.user_at(&format!("{none}.{claims}."), 0), Err(BadToken::Invalid));
        assert_eq!(ours.user_at("x", 0), Err(BadToken::Invalid));
    }

    #[test]
    fn a_token_for_another_audience_counts_for_nothing() {
        let other = Tokens::new(AuthSettings { audience: "tasks".into(), ..tokens("secret").settings });
        assert_eq!(tokens("secret").user_at(&other.issue_at("a", "op", 9, 0), 0), Err(BadToken::Invalid));
    }
}
