//! JSON bodies, read field by field.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::parse::{Fault, Issues, Parsed, Place};

/// No request of Airflow's API is near this long.
pub(crate) const MAX_BODY: usize = 8 << 20;

/// The body of a request: JSON if its content type says so.
#[derive(Debug)]
pub(crate) struct JsonBody(Option<Value>);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let is_json = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_json);
        let bytes = read_body(request).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        if !is_json {
            return Ok(Self(Some(Value::String(String::from_utf8_lossy(&bytes).into_owned()))));
        }
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self(Some(value))),
            Err(_) => Err(not_json(&bytes)),
        }
    }
}

/// The bytes of a body that is not too long.
pub(crate) async fn read_body(request: Request) -> Result<Bytes, ApiError> {
    axum::body::to_bytes(request.into_body(), MAX_BODY).await.map_err(|_| {
        let status = axum::http::StatusCode::PAYLOAD_TOO_LARGE;
        ApiError::new(status, format!("The body was cut off, or is longer than {MAX_BODY} bytes"))
    })
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.strip_prefix("application/");
    subtype.is_some_and(|subtype| subtype == "json" || subtype.ends_with("+json"))
}

fn not_json(bytes: &[u8]) -> ApiError {
    let (at, error) = crate::parse::json_error(&String::from_utf8_lossy(bytes));
    let mut issues = Issues::default();
    let fault = Fault::with("json_invalid", "JSON decode error", json!({"error": error}));
    issues.add(&vec![json!("body"), json!(at)], fault, &json!({}));
    match issues.finish() {
        Err(error) => error,
        Ok(()) => ApiError::bad_request("There was an error parsing the body"),
    }
}

impl JsonBody {
    /// The fields of the body, which must be an object.
    pub(crate) fn fields<'a>(&'a self, issues: &'a mut Issues) -> Fields<'a> {
        let place = vec![json!("body")];
        match &self.0 {
            Some(value) => Fields::of(value, place, issues),
            None => {
                issues.add(&place, Fault::new("missing", "Field required"), &Value::Null);
                Fields { map: None, input: &Value::Null, place, issues, known: Vec::new() }
            }
        }
    }

    /// The body as it is; `None` if there is none.
    pub(crate) fn value(&self) -> Option<&Value> {
        self.0.as_ref()
    }
}

/// The fields of an object. What is wrong goes to the issues; what is returned then is of no meaning.
pub(crate) struct Fields<'a> {
    map: Option<&'a Map<String, Value>>,
    input: &'a Value,
    place: Place,
    issues: &'a mut Issues,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of a value that stands somewhere in a body.
    pub(crate) fn of(value: &'a Value, place: Place, issues: &'a mut Issues) -> Self {
        let map = value.as_object();
        if map.is_none() {
            let message = "Input should be a valid dictionary or object to extract fields from";
            issues.add(&place, Fault::new("model_attributes_type", message), value);
        }
        Self { map, input: value, place, issues, known: Vec::new() }
    }

    /// What stands in a field.
    pub(crate) fn raw(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.map?.get(name)
    }

    /// Whether the field was given at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.is_some_and(|map| map.contains_key(name))
    }

    pub(crate) fn place_of(&self, name: &str) -> Place {
        let mut place = self.place.clone();
        place.push(json!(name));
        place
    }

    pub(crate) fn issues(&mut self) -> &mut Issues {
        self.issues
    }

    /// A field that must be there.
    pub(crate) fn required<T: Default>(&mut self, name: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> T {
        match self.raw(name) {
            Some(value) => self.keep(name, value, parse(value)).unwrap_or_default(),
            None => {
                if self.map.is_some() {
                    let place = self.place_of(name);
                    self.issues.add(&place, Fault::new("missing", "Field required"), self.input);
                }
                T::default()
            }
        }
    }

    /// A field that must be there, and may be null.
    pub(crate) fn required_or_null<T>(&mut self, name: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        self.required(name, |value| if value.is_null() { Ok(None) } else { parse(value).map(Some) })
    }

    /// A field that may be left out, and then has a default; null is no value of it.
    pub(crate) fn or<T>(&mut self, name: &'static str, default: T, parse: impl Fn(&Value) -> Parsed<T>) -> T {
        match self.raw(name) {
            Some(value) => self.keep(name, value, parse(value)).unwrap_or(default),
            None => default,
        }
    }

    /// A field that may be left out or null.
    pub(crate) fn optional<T>(&mut self, name: &'static str, parse: impl Fn(&Value) -> Parsed<T>) -> Option<T> {
        let value = self.raw(name).filter(|value| !value.is_null())?;
        self.keep(name, value, parse(value))
    }

    /// A list that may be left out or null.
    pub(crate) fn optional_list<T>(
        &mut self,
        name: &'static str,
        parse: impl Fn(&Value) -> Parsed<T>,
    ) -> Option<Vec<T>> {
        let value = self.raw(name).filter(|value| !value.is_null())?;
        let place = self.place_of(name);
        let Some(items) = value.as_array() else {
            self.issues.add(&place, Fault::new("list_type", "Input should be a valid list"), value);
            return None;
        };
        let mut parsed = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let mut place = place.clone();
            place.push(json!(at));
            parsed.extend(self.issues.keep(&place, item, parse(item)));
        }
        Some(parsed)
    }

    fn keep<T>(&mut self, name: &str, value: &Value, parsed: Parsed<T>) -> Option<T> {
        match parsed {
            Ok(parsed) => Some(parsed),
            Err(fault) => {
                let place = self.place_of(name);
                self.issues.add(&place, fault, value);
                None
            }
        }
    }

    /// Something that is wrong with the object as a whole.
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.issues.add(&self.place, fault, self.input);
    }

    /// Ends the reading of a model that allows no other fields than those that were asked for.
    pub(crate) fn forbid_others(mut self) {
        self.check_others();
    }

    /// Whether nothing is wrong, now that all fields were read and no others are allowed.
    pub(crate) fn are_sound(&mut self) -> bool {
        self.check_others();
        self.issues.is_empty()
    }

    fn check_others(&mut self) {
        for (name, value) in self.map.into_iter().flatten() {
            if !self.known.contains(&name.as_str()) {
                let place = self.place_of(name);
                self.issues.add(&place, Fault::new("extra_forbidden", "Extra inputs are not permitted"), value);
            }
        }
    }
}
