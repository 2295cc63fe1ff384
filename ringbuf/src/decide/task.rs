//! The task of a decide request.

use serde_json::{Map, Value};

use super::check;
use super::{DecideError, Field, MIN_TASK_PAYLOAD_BYTES};

/// What the Router is to decide about.
///
/// [`DecideRequest`](super::DecideRequest) shows one with a payload, [`Decide`](super::Decide) one with a
/// reference.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    kind: String,
    payload: Option<Value>,
    payload_ref: Option<String>,
}

impl Task {
    /// A task of this type, which must not be empty. It needs a payload or a reference to one.
    #[must_use]
    pub fn new(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            payload: None,
            payload_ref: None,
        }
    }

    /// The payload: a JSON object of at least [`MIN_TASK_PAYLOAD_BYTES`] as text.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Value>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// Where the Router finds the payload.
    #[must_use]
    pub fn payload_ref(mut self, payload_ref: impl Into<String>) -> Self {
        self.payload_ref = Some(payload_ref.into());
        self
    }

    pub(super) fn into_json(self) -> Result<Value, DecideError> {
        let mut object = Map::new();
        check::not_empty(Field::TaskType, &self.kind)?;
        object.insert("type".to_owned(), self.kind.into());
        if self.payload.is_none() && self.payload_ref.is_none() {
            return Err(DecideError::NoTaskBody);
        }
        if let Some(payload) = self.payload {
            check::object(Field::TaskPayload, &payload)?;
            let bytes = payload.to_string().len();
            if bytes < MIN_TASK_PAYLOAD_BYTES {
                return Err(DecideError::TaskPayloadTooSmall { bytes });
            }
            object.insert("payload".to_owned(), payload);
        }
        if let Some(payload_ref) = self.payload_ref {
            object.insert("payload_ref".to_owned(), payload_ref.into());
        }
        Ok(object.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_task_needs_a_payload_or_a_reference() {
        assert_eq!(Task::new("chat").into_json(), Err(DecideError::NoTaskBody));
        assert_eq!(
            Task::new("chat").payload_ref("x").into_json(),
            Ok(json!({"type": "chat", "payload_ref": "x"}))
        );
    }

    #[test]
    fn a_task_payload_must_be_an_object() {
        for payload in [json!("0123456789"), json!([1, 2, 3, 4, 5, 6]), json!(null)] {
            assert_eq!(
                Task::new("chat").payload(payload).into_json(),
                Err(DecideError::NotAnObject(Field::TaskPayload))
            );
        }
    }

    #[test]
    fn a_task_payload_has_ten_bytes_or_more() {
        assert_eq!(
            Task::new("chat").payload(json!({"a": 1})).into_json(),
            Err(DecideError::TaskPayloadTooSmall { bytes: 7 })
        );
        assert_eq!(
            Task::new("chat").payload(json!({"a": 123})).into_json(),
            Err(DecideError::TaskPayloadTooSmall { bytes: 9 })
        );
        assert_eq!(
            Task::new("chat").payload(json!({"a": 1234})).into_json(),
            Ok(json!({"type": "chat", "payload": {"a": 1234}}))
        );
    }
}
