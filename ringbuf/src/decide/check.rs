//! The rules that several fields share.

use serde_json::Value;

use super::{DecideError, Field, MAX_IDEMPOTENCY_KEY_BYTES};
use crate::headers;

pub(super) fn idempotency_key(key: &str) -> Result<(), DecideError> {
    not_empty(Field::IdempotencyKey, key)?;
    if key.len() > MAX_IDEMPOTENCY_KEY_BYTES {
        return Err(DecideError::IdempotencyKeyTooLong { bytes: key.len() });
    }
    Ok(())
}

pub(super) fn not_empty(field: Field, value: &str) -> Result<(), DecideError> {
    if value.is_empty() {
        return Err(DecideError::Empty(field));
    }
    Ok(())
}

pub(super) const fn object(field: Field, value: &Value) -> Result<(), DecideError> {
    match value {
        Value::Object(_) => Ok(()),
        _ => Err(DecideError::NotAnObject(field)),
    }
}

pub(super) fn header(field: Field, value: &str) -> Result<(), DecideError> {
    headers::check(field.name(), value).map_err(|error| DecideError::Header(field, error))
}
