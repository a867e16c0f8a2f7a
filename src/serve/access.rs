//! What is told of each request, and the two forms of a line in the access log.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use serde_json::json;

/// Takes note of requests when their answers are over.
pub trait AccessLog: Send + Sync {
    /// A request was answered, or its client went away.
    fn record(&self, access: &Access);
}

/// Nobody takes note.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAccessLog;

impl AccessLog for NoAccessLog {
    fn record(&self, _access: &Access) {}
}

/// A request and what became of it. Queries are left out: they may hold signatures.
#[derive(Debug, Clone)]
pub struct Access {
    /// When the request came.
    pub at: SystemTime,
    /// The client.
    pub remote: SocketAddr,
    /// Method, such as `GET`.
    pub method: String,
    /// Path as it was sent, percent-encoded.
    pub path: String,
    /// Version of HTTP, such as `HTTP/1.1`.
    pub protocol: String,
    /// The range that was asked for, if any.
    pub range: Option<String>,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of the body that were passed on to the client.
    pub bytes: u64,
    /// Whether that was all of it.
    pub is_complete: bool,
    /// How long it took.
    pub took: Duration,
}

impl Access {
    /// Returns a line of the common log format, without its end.
    pub fn common_line(&self) -> String {
        let at = DateTime::<Utc>::from(self.at).format("%d/%b/%Y:%H:%M:%S +0000");
        let bytes = match self.bytes {
            0 => "-".to_owned(),
            bytes => bytes.to_string(),
        };
        format!(
            "{} - - [{at}] \"{} {} {}\" {} {bytes}",
            self.remote.ip(),
            escaped(&self.method),
            escaped(&self.path),
            self.protocol,
            self.status,
        )
    }

    /// Returns a JSON object on one line, without its end.
    pub fn json_line(&self) -> String {
        json!({
            "time": DateTime::<Utc>::from(self.at).to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            "remote": self.remote.to_string(),
            "method": self.method,
            "path": self.path,
            "protocol": self.protocol,
            "range": self.range,
            "status": self.status,
            "bytes": self.bytes,
            "complete": self.is_complete,
            "seconds": self.took.as_secs_f64(),
        })
        .to_string()
    }
}

/// Escapes what could end the quotes or fool a terminal.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=b'~' => out.push(char::from(byte)),
            // Writing to a String can't fail.
            _ => _ = write!(out, "\\x{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn lines_of_both_forms() {
        let mut access = Access {
            at: UNIX_EPOCH + Duration::from_millis(951_782_400_500),
            remote: "127.0.0.1:4711".parse().unwrap(),
            method: "GET".into(),
            path: "/a\"b\u{e9}.txt".into(),
            protocol: "HTTP/1.1".into(),
            range: None,
            status: 200,
            bytes: 12,
            is_complete: true,
            took: Duration::from_millis(250),
        };
        assert_eq!(
            access.common_line(),
            "127.0.0.1 - - [29/Feb/2000:00:00:00 +0000] \"GET /a\\\"b\\xC3\\xA9.txt HTTP/1.1\" 200 12"
        );
        let line: serde_json::Value = serde_json::from_str(&access.json_line()).unwrap();
        assert_eq!(line["time"], "2000-02-29T00:00:00.500Z");
        assert_eq!(line["path"], "/a\"b\u{e9}.txt");
        assert_eq!(line["seconds"], 0.25);
        access.bytes = 0;
        assert!(access.common_line().ends_with(" 200 -"));
    }
}
