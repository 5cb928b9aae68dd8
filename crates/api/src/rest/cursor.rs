//! Pages that are followed by a token instead of counted.
//!
//! A token says how many entries come before its page, and in which order; clients know nothing of what is in it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde_json::{Value, json};
use store::Page;

use crate::args::Args;
use crate::error::ApiError;

/// Lists that are followed are counted to here (`EXACT_COUNT_LIMIT`).
const COUNTED: u64 = 50_000;
/// What stands before the token of a page that comes before another.
const BACKWARD: char = '~';

/// A page that was asked for with `cursor`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cursor {
    page: Page,
    is_first: bool,
    is_backward: bool,
    order: String,
}

/// What an answer says of the pages around it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(crate) struct Around {
    pub(crate) total_entries: u64,
    pub(crate) total_entries_limit: Option<u64>,
    pub(crate) next_cursor: Option<String>,
    pub(crate) previous_cursor: Option<String>,
}

impl Cursor {
    /// The page that a request asks for with a token; nothing where it counts its pages. `limit` is that of the request.
    pub(crate) fn read(args: &Args, order_by: &[String], limit: u64) -> Result<Option<Self>, ApiError> {
        let Some(cursor) = args.text("cursor") else { return Ok(None) };
        let order = order_by.join(",");
        if cursor.is_empty() {
            let page = Page { limit, offset: 0 };
            return Ok(Some(Self { page, is_first: true, is_backward: false, order }));
        }
        let (token, is_backward) = match cursor.strip_prefix(BACKWARD) {
            Some(token) => (token, true),
            None => (cursor.as_str(), false),
        };
        let before = position(token, &order)?;
        let page = if is_backward {
            let offset = before.saturating_sub(limit);
            Page { limit: before - offset, offset }
        } else {
            Page { limit, offset: before }
        };
        Ok(Some(Self { page, is_first: false, is_backward, order }))
    }

    /// The page to take out of the list.
    pub(crate) fn page(&self) -> Page {
        self.page
    }

    /// The pages around one that has so many entries, out of so many in all.
    pub(crate) fn around(&self, entries: usize, total: u64) -> Around {
        let end = self.page.offset + entries as u64;
        let has_next = self.is_backward || end < total;
        let has_previous = if self.is_backward { self.page.offset > 0 } else { !self.is_first };
        let is_empty = entries == 0;
        Around {
            total_entries: total.min(COUNTED),
            total_entries_limit: Some(COUNTED),
            next_cursor: (has_next && !is_empty).then(|| self.token(end)),
            previous_cursor: (has_previous && !is_empty).then(|| format!("{BACKWARD}{}", self.token(self.page.offset))),
        }
    }

    fn token(&self, before: u64) -> String {
        URL_SAFE_NO_PAD.encode(json!([self.order, before]).to_string())
    }
}

/// What a list says that counts its pages.
pub(crate) fn counted(total_entries: u64) -> Around {
    Around { total_entries, ..Around::default() }
}

/// How many entries come before the token's page.
fn position(token: &str, order: &str) -> Result<u64, ApiError> {
    let invalid = || ApiError::bad_request("Invalid cursor token");
    let bytes = URL_SAFE_NO_PAD.decode(token.trim_end_matches('=')).map_err(|_| invalid())?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| invalid())?;
    let parts = value.as_array().ok_or_else(|| ApiError::bad_request("Invalid cursor token structure"))?;
    match parts.as_slice() {
        [made_for, before] if made_for == order => before.as_u64().ok_or_else(invalid),
        _ => Err(ApiError::bad_request("Cursor token does not match current query shape")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(token: &str, limit: u64) -> Cursor {
        let encoded: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
        let args = Args::of_query(&format!("cursor={encoded}"));
        Cursor::read(&args, &["-id".to_owned()], limit).unwrap().unwrap()
    }

    #[test]
    fn pages_are_followed_there_and_back() {
        let first = cursor("", 2);
        let around = first.around(2, 5);
        assert_eq!((first.page(), around.previous_cursor), (Page { limit: 2, offset: 0 }, None));
        let second = cursor(&around.next_cursor.unwrap(), 2);
        assert_eq!(second.page(), Page { limit: 2, offset: 2 });
        let third = cursor(&second.around(2, 5).next_cursor.unwrap(), 2);
        let around = third.around(1, 5);
        assert_eq!((third.page(), around.next_cursor), (Page { limit: 2, offset: 4 }, None));
        let back = cursor(&around.previous_cursor.unwrap(), 2);
        assert_eq!(back.page(), Page { limit: 2, offset: 2 });
        let around = back.around(2, 5);
        assert!(around.next_cursor.is_some());
        let start = cursor(&around.previous_cursor.unwrap(), 2);
        assert_eq!((start.page(), start.around(2, 5).previous_cursor), (Page { limit: 2, offset: 0 }, None));
    }

    #[test]
    fn tokens_of_others_are_refused() {
        let refused = |token: &str| {
            let args = Args::of_query(&format!("cursor={token}"));
            Cursor::read(&args, &[], 2).unwrap_err().body["detail"].as_str().unwrap().to_owned()
        };
        assert_eq!(refused("nonsense"), "Invalid cursor token");
        assert_eq!(refused(&URL_SAFE_NO_PAD.encode("{}")), "Invalid cursor token structure");
        assert_eq!(refused(&URL_SAFE_NO_PAD.encode("[\"id\",1]")), "Cursor token does not match current query shape");
    }
}
