//! Opening a store by URL: schemes are registered, unknown ones and unknown keys are errors.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use url::Url;

use super::{Access, MessageStore};
use crate::{Error, ErrorKind, Result};

/// Opens the stores of one URL scheme; third parties register their own.
#[async_trait]
pub trait StoreFactory: fmt::Debug + Send + Sync + 'static {
    /// The scheme, e.g. `fs`.
    fn scheme(&self) -> &'static str;

    /// Opens the store that `url` names.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a URL that cannot name such a store, with
    /// [`StoreUrl::check_keys`] refusing unknown query keys; and whatever opening answers.
    async fn open(&self, url: &StoreUrl, access: Access) -> Result<Arc<dyn MessageStore>>;
}

/// The URL of a store: `scheme:place?key=value&...`.
///
/// Its `Debug` and `Display` leave out password and query, which may hold secrets.
#[derive(Clone, Eq, PartialEq)]
pub struct StoreUrl(Url);

impl StoreUrl {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when it is none, or names a query key twice.
    pub fn parse(text: &str) -> Result<Self> {
        let url = Url::parse(text).map_err(|cause| {
            let hint = "expected scheme:place, e.g. fs:///var/lib/orders";
            Error::new(ErrorKind::Invalid, format!("not a store URL ({hint})")).with_source(cause)
        })?;
        let mut seen = std::collections::BTreeSet::new();
        for (key, _) in url.query_pairs() {
            if !seen.insert(key.clone()) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!("URL key `{key}` stands twice"),
                ));
            }
        }
        Ok(Self(url))
    }

    /// The scheme, e.g. `fs`.
    pub fn scheme(&self) -> &str {
        self.0.scheme()
    }

    /// The URL itself.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The value of a query key, percent-decoded.
    pub fn value(&self, key: &str) -> Option<String> {
        self.0.query_pairs().find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
    }

    /// The value of a query key as a number or other type that can be read from text.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) when the value cannot be read.
    pub fn parsed<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.value(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Error::new(ErrorKind::Invalid, format!("URL key `{key}` cannot be `{text}`"))
        })
    }

    /// Refuses query keys other than `known`.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) naming the unknown key and the known ones.
    pub fn check_keys(&self, known: &[&str]) -> Result<()> {
        let Some((key, _)) = self.0.query_pairs().find(|(key, _)| !known.contains(&key.as_ref()))
        else {
            return Ok(());
        };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let why = format!("unknown URL key `{key}` for `{}` (known: {known})", self.scheme());
        Err(Error::new(ErrorKind::Invalid, why))
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        url.set_query(None);
        url.set_fragment(None);
        // Fails only for URLs that cannot have a password.
        let _ = url.set_password(None);
        f.write_str(url.as_str())
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreUrl({self})")
    }
}

/// The URL schemes that can be opened.
#[derive(Clone, Debug, Default)]
pub struct StoreRegistry {
    factories: BTreeMap<String, Arc<dyn StoreFactory>>,
    features: BTreeMap<String, &'static str>,
}

impl StoreRegistry {
    /// A registry that knows no scheme.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a scheme; one that is there already is replaced.
    pub fn register(&mut self, factory: impl StoreFactory) -> &mut Self {
        self.factories.insert(factory.scheme().to_owned(), Arc::new(factory));
        self
    }

    /// Names the cargo feature that would bring a scheme, for the error when it is missing.
    pub fn register_missing(&mut self, scheme: &str, feature: &'static str) -> &mut Self {
        self.features.insert(scheme.to_owned(), feature);
        self
    }

    /// The schemes that can be opened, sorted.
    pub fn schemes(&self) -> impl Iterator<Item = &str> {
        self.factories.keys().map(String::as_str)
    }

    /// Opens the store that a URL names.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for text that is no URL and for an unknown query key;
    /// [`Unsupported`](ErrorKind::Unsupported) for a scheme that nobody registered, naming the
    /// cargo feature that brings it where there is one; and whatever the store answers.
    pub async fn open(&self, url: &str, access: Access) -> Result<Arc<dyn MessageStore>> {
        let url = StoreUrl::parse(url)?;
        let scheme = url.scheme();
        if let Some(factory) = self.factories.get(scheme) {
            return factory.open(&url, access).await;
        }
        let why = match self.features.get(scheme) {
            Some(feature) => format!("scheme `{scheme}` needs the cargo feature `{feature}`"),
            None => {
                let known: Vec<_> = self.schemes().collect();
                format!("unknown scheme `{scheme}` (known: {})", known.join(", "))
            }
        };
        Err(Error::new(ErrorKind::Unsupported, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_url_is_invalid() {
        for text in ["", "/tmp/x", "no scheme", "fs:///x?a=1&a=2"] {
            assert_eq!(StoreUrl::parse(text).unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
    }

    #[test]
    fn unknown_key_is_named_with_the_known_ones() {
        let url = StoreUrl::parse("fs:///x?colour=red").unwrap();
        let error = url.check_keys(&["segment_bytes"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("colour"), "{error}");
        assert!(error.to_string().contains("segment_bytes"), "{error}");
    }

    #[test]
    fn secrets_do_not_show() {
        let url = StoreUrl::parse("s3://user:hush@bucket/x?secret=hush").unwrap();
        assert!(!format!("{url} {url:?}").contains("hush"));
    }

    #[tokio::test]
    async fn missing_scheme_names_its_feature() {
        let mut registry = StoreRegistry::new();
        registry.register_missing("rocksdb", "rocksdb");
        let error = registry.open("rocksdb:///x", Access::Write).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("cargo feature `rocksdb`"), "{error}");
        let error = registry.open("nosuch:x", Access::Write).await.unwrap_err();
        assert!(error.to_string().contains("unknown scheme `nosuch`"), "{error}");
    }
}
