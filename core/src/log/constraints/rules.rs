//! Rules made ready to be checked, and what they say about a message.

use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::rate::{Bucket, Load};
use super::{Constraints, HeaderValue, Rule};
use crate::{AsMessage, Error, ErrorKind, Header, MessageRef, Result};

/// The header that says what a payload is.
const CONTENT_TYPE: &str = "content-type";

/// The rules of a topic, ready to be checked.
#[derive(Debug, Default)]
pub(in crate::log) struct Rules {
    rules: Vec<Rule>,
    /// Those of the rules that are a JSON Schema, in order.
    schemas: Vec<Schema>,
    pub(super) rate: Option<Arc<Bucket>>,
}

impl Rules {
    /// Makes rules ready.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for a schema that is none;
    /// [`Unsupported`](ErrorKind::Unsupported) for one when this build has no JSON Schema.
    pub(in crate::log) fn of(constraints: &Constraints) -> Result<Self> {
        let mut ready = Self { rules: constraints.rules.clone(), ..Self::default() };
        for rule in &constraints.rules {
            match rule {
                Rule::JsonSchema(schema) => ready.schemas.push(Schema::of(schema)?),
                Rule::Rate(rate) => ready.rate = Some(Arc::new(Bucket::of(*rate))),
                _ => {}
            }
        }
        Ok(ready)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Goes on with the bucket of the rules before where the rate is the same.
    pub(super) fn keep_rate_of(&mut self, before: &Self) {
        if let (Some(new), Some(old)) = (&mut self.rate, &before.rate)
            && new.rate() == old.rate()
        {
            *new = old.clone();
        }
    }

    /// Checks what does not depend on time.
    pub(super) fn check(&self, message: MessageRef<'_>) -> Result<()> {
        let mut schemas = self.schemas.iter();
        for rule in &self.rules {
            let schema = if matches!(rule, Rule::JsonSchema(_)) { schemas.next() } else { None };
            check(rule, schema, message).map_err(|why| violated(rule, &why))?;
        }
        Ok(())
    }
}

pub(super) fn violated(rule: &Rule, why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("rule `{}`: {why}", rule.name()))
}

fn check(rule: &Rule, schema: Option<&Schema>, message: MessageRef<'_>) -> Result<(), String> {
    let (key, payload) = (message.key, message.payload);
    match (rule, payload) {
        (Rule::KeyRequired, _) if key.is_none() => Err("there is no key".to_owned()),
        (Rule::PayloadRequired, None) => Err("there is no payload".to_owned()),
        (Rule::KeyBytes(bytes), _) => key.map_or(Ok(()), |key| check_size("key", key, *bytes)),
        (Rule::PayloadBytes(bytes), Some(payload)) => check_size("payload", payload, *bytes),
        (Rule::Header { name, value }, _) => check_header(message.headers, name, value),
        (Rule::ContentType(allowed), _) => check_content_type(message.headers, allowed),
        (Rule::Json, Some(payload)) => serde_json::from_slice::<IgnoredAny>(payload)
            .map(drop)
            .map_err(|cause| format!("payload is no JSON: {cause}")),
        (Rule::JsonSchema(_), Some(payload)) => {
            let value: Value = serde_json::from_slice(payload)
                .map_err(|cause| format!("payload is no JSON: {cause}"))?;
            schema.map_or(Ok(()), |schema| schema.check(&value))
        }
        _ => Ok(()),
    }
}

fn check_size(what: &str, field: &[u8], allowed: super::ByteRange) -> Result<(), String> {
    let size = field.len() as u64;
    if size < allowed.min || allowed.max.is_some_and(|max| size > max) {
        return Err(format!("a {what} of {size} bytes is not within {allowed}"));
    }
    Ok(())
}

fn check_header(headers: &[Header], name: &str, allowed: &HeaderValue) -> Result<(), String> {
    let mut found = headers.iter().filter(|header| header.name == name).peekable();
    if found.peek().is_none() {
        return Err(format!("there is no header `{name}`"));
    }
    let keeps = |value: Option<&[u8]>| match (allowed, value) {
        (HeaderValue::Any, _) => true,
        (_, None) => false,
        (HeaderValue::OneOf(values), Some(value)) => {
            values.iter().any(|allowed| allowed.as_bytes() == value)
        }
        (HeaderValue::Prefix(prefix), Some(value)) => value.starts_with(prefix.as_bytes()),
    };
    if found.all(|header| keeps(header.value.as_deref())) {
        return Ok(());
    }
    let wanted = match allowed {
        HeaderValue::Any => "anything".to_owned(),
        HeaderValue::OneOf(values) => format!("one of {}", values.join(", ")),
        HeaderValue::Prefix(prefix) => format!("something that begins with `{prefix}`"),
    };
    Err(format!("header `{name}` is not {wanted}"))
}

fn check_content_type(headers: &[Header], allowed: &[String]) -> Result<(), String> {
    let Some(header) = headers.iter().rfind(|header| header.name == CONTENT_TYPE) else {
        return Err(format!("there is no header `{CONTENT_TYPE}`"));
    };
    let value = header.value.as_deref().unwrap_or_default();
    let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if allowed.iter().any(|allowed| allowed.trim().as_bytes().eq_ignore_ascii_case(kind)) {
        return Ok(());
    }
    Err(format!("header `{CONTENT_TYPE}` is not one of {}", allowed.join(", ")))
}

/// What a message counts for in a rate.
pub(super) fn load(messages: &[impl AsMessage]) -> Load {
    let header = |header: &Header| header.name.len() + len(header.value.as_deref());
    let bytes = |message: MessageRef<'_>| {
        let fields = len(message.key) + len(message.payload);
        fields + message.headers.iter().map(header).sum::<usize>()
    };
    Load {
        messages: messages.len() as u64,
        bytes: messages.iter().map(AsMessage::as_message).map(bytes).sum::<usize>() as u64,
    }
}

fn len(field: Option<&[u8]>) -> usize {
    field.map_or(0, <[u8]>::len)
}

/// A JSON Schema, ready to be checked.
#[derive(Debug)]
struct Schema {
    #[cfg(feature = "json-schema")]
    validator: jsonschema::Validator,
}

#[cfg(feature = "json-schema")]
impl Schema {
    /// What the schema refers to must be in it: nothing is fetched.
    fn of(schema: &Value) -> Result<Self> {
        let validator = jsonschema::validator_for(schema).map_err(|cause| {
            let why = "rule `json-schema`: this is no JSON Schema that stands for itself";
            Error::new(ErrorKind::Invalid, why).with_source(cause)
        })?;
        Ok(Self { validator })
    }

    /// Names the place in the payload, and not what is there: that may be a secret.
    fn check(&self, value: &Value) -> Result<(), String> {
        self.validator.validate(value).map_err(|error| {
            let place = error.instance_path().to_string();
            let place = if place.is_empty() { "payload" } else { place.as_str() };
            format!("{place}: {}", error.masked())
        })
    }
}

#[cfg(not(feature = "json-schema"))]
impl Schema {
    fn of(_schema: &Value) -> Result<Self> {
        let why = "rule `json-schema` needs the cargo feature `json-schema`";
        Err(Error::new(ErrorKind::Unsupported, why))
    }

    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "with the feature it is")]
    fn check(&self, _value: &Value) -> Result<(), String> {
        Ok(())
    }
}
