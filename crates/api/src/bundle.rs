//! What the record of a bundle says about one of its versions.

use std::path::PathBuf;

use store::BundleRecord;

/// Where people can look at a version (`DagBundleModel.render_url`). Without a version the word is `None`, as Airflow writes
/// it.
pub(crate) fn page_of(bundle: &BundleRecord, version: Option<&str>) -> Option<String> {
    let mut rest = bundle.url.as_deref()?;
    let mut page = String::with_capacity(rest.len() + 40);
    while let Some(at) = rest.find(['{', '}']) {
        page.push_str(&rest[..at]);
        let doubled = rest[at..].starts_with("{{") || rest[at..].starts_with("}}");
        if doubled {
            page.push_str(&rest[at..=at]);
            rest = &rest[at + 2..];
            continue;
        }
        let (name, after) = rest[at..].strip_prefix('{')?.split_once('}')?;
        let value = match name {
            "version" => version.unwrap_or("None"),
            name => bundle.url_params.get(name)?,
        };
        page.push_str(value);
        rest = after;
    }
    page.push_str(rest);
    Some(page)
}

/// Where the copy of a version is, if it is still there: those of all versions have the same form.
pub(crate) fn path_of(bundle: &BundleRecord, version: &str) -> Option<PathBuf> {
    let newest = bundle.version.as_deref().filter(|newest| !newest.is_empty())?;
    let path = bundle.version_path.as_deref()?;
    if newest == version {
        return Some(path.into());
    }
    let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('/');
    let parts: Vec<&str> = path.split('/').collect();
    if !is_part(version) || !parts.contains(&newest) {
        return None;
    }
    Some(parts.into_iter().map(|part| if part == newest { version } else { part }).collect::<Vec<_>>().join("/").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_as_python_formats_it() {
        let of = |url: &str, version| {
            let url_params = [("subdir".to_owned(), "dags".to_owned())].into();
            page_of(&BundleRecord { url: Some(url.into()), url_params, ..BundleRecord::default() }, version)
        };
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(of("https://h/{version}/{subdir}?{version}", Some("c1")), text("https://h/c1/dags?c1"));
        assert_eq!(of("https://h/{version}", None), text("https://h/None"));
        assert_eq!(of("https://h/{{x}}", None), text("https://h/{x}"));
        for broken in ["https://h/{other}", "https://h/{version", "https://h/version}", "https://h/{version!r}", "{}"] {
            assert_eq!(of(broken, Some("c1")), None, "{broken}");
        }
        assert_eq!(page_of(&BundleRecord::default(), Some("c1")), None);
    }

    #[test]
    fn copies_of_versions_lie_side_by_side() {
        let of = |path: &str, version: &str| {
            let (newest, path) = (Some("c2".to_owned()), Some(path.to_owned()));
            path_of(&BundleRecord { version: newest, version_path: path, ..BundleRecord::default() }, version)
        };
        assert_eq!(of("/b/versions/c2/dags", "c2"), Some("/b/versions/c2/dags".into()));
        assert_eq!(of("/b/versions/c2/dags", "c1"), Some("/b/versions/c1/dags".into()));
        assert_eq!(of("/b/here", "c1"), None);
        for odd in ["..", "a/b", ""] {
            assert_eq!(of("/b/versions/c2/dags", odd), None, "{odd:?}");
        }
        assert_eq!(path_of(&BundleRecord::default(), "c1"), None);
    }
}
