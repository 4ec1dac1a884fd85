//! Where a request comes from, as its client says it: the request's id and its trace.
//! Never passes on what is not plain: nobody writes into the logs or answers of others.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngExt as _;
use uuid::Uuid;

/// `X-Request-Id`
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The client's id of the request when it is short and plain; else one is made: a UUIDv7 of this time.
pub fn request_id(headers: &HeaderMap, unix_millis: u64) -> HeaderValue {
    let mut given = headers.get_all(REQUEST_ID).iter();
    if let (Some(id), None) = (given.next(), given.next())
        && is_plain(id.as_bytes())
    {
        return id.clone();
    }
    let id = uuid::Builder::from_unix_timestamp_millis(unix_millis, &rand::rng().random()).into_uuid();
    let mut text = Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).expect("hexadecimal digits")
}

fn is_plain(id: &[u8]) -> bool {
    (1..=128).contains(&id.len()) && id.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

/// The trace a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 32]);

impl TraceId {
    /// 32 lowercase hexadecimal digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits")
    }
}

/// Reads `traceparent` (W3C Trace Context, level 1, section 3.2): version, trace, parent, flags. What is malformed in
/// any part, or stands twice, is as if it were not there.
pub fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    let mut given = headers.get_all("traceparent").iter();
    let (value, None) = (given.next()?.as_bytes(), given.next()) else { return None };
    let (known, rest) = value.split_at_checked(55)?;
    let hexadecimal = |digits: &[u8]| digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let (version, trace, parent, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
    let zero = |digits: &[u8]| digits.iter().all(|digit| *digit == b'0');
    let fits = hexadecimal(version)
        && version != b"ff"
        // A later version may say more, after another dash.
        && (rest.is_empty() || version != b"00" && rest[0] == b'-')
        && [2, 35, 52].iter().all(|at| known[*at] == b'-')
        && hexadecimal(trace)
        && hexadecimal(parent)
        && hexadecimal(flags)
        && !zero(trace)
        && !zero(parent);
    fits.then(|| TraceId(trace.try_into().expect("32 digits")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_plain_id_is_echoed_and_any_other_is_replaced() {
        let id = |values: &[&[u8]]| request_id(&headers("x-request-id", values), 1_790_000_000_000);
        assert_eq!(id(&[b"a-1_B.2"]), "a-1_B.2");
        let long = [b'x'; 129];
        let bad: [&[&[u8]]; 7] = [&[], &[b""], &[b"a b"], &[b"a\"b"], &[b"\x80"], &[&long], &[b"a", b"b"]];
        for bad in bad {
            let made = id(bad);
            let uuid: Uuid = made.to_str().unwrap().parse().unwrap();
            assert_eq!((uuid.get_version_num(), made.len()), (7, 36));
            assert_ne!(made, id(bad), "each its own");
        }
    }

    #[test]
    fn a_trace_is_read_strictly_or_not_at_all() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let of = |values: &[&str]| {
            let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
            trace_id(&headers("traceparent", &values)).map(|id| id.as_str().to_owned())
        };
        let trace = Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
        assert_eq!(of(&[good]), trace);
        assert_eq!(of(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"]), trace);
        assert_eq!(of(&["01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]), trace);
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(&[bad]), None, "{bad}");
        }
        assert_eq!(of(&[good, good]), None);
    }
}
