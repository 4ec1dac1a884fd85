//! Looks over the heads of HTTP/1 requests as their bytes arrive, for what the HTTP library accepts and we do not.
//! Never parses a request: the library does, and its view counts.

/// Longest head of a request, in bytes.
pub const HEAD_BYTES_MAX: u32 = 32 * 1024;

/// Longest request line that is kept, in bytes; of a longer one nothing is known.
const LINE_MAX: usize = 2048;

/// What one head said of its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Framing {
    /// It has a `Content-Length`.
    pub length: bool,
    /// It has a `Transfer-Encoding`.
    pub coding: bool,
    /// A line ends without a carriage return.
    pub bare_newline: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum At {
    /// Nothing of a head was seen.
    #[default]
    Before,
    Within,
    /// The head is complete; what follows is a body, or a request sent ahead, and is not looked at.
    After,
}

/// What was seen of the head that is arriving.
#[derive(Debug, Default)]
pub struct HeadScan {
    at: At,
    /// The request line, without its end.
    first: Vec<u8>,
    first_is_whole: bool,
    /// The beginning of the line that is arriving: long enough for the names that matter.
    line: [u8; 24],
    filled: usize,
    last: u8,
    framing: Framing,
}

impl HeadScan {
    /// Looks at bytes that arrived while no request was under way.
    pub fn see(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while self.at != At::After && !rest.is_empty() {
            self.at = At::Within;
            let (line, ended) = match memchr(b'\n', rest) {
                Some(end) => (&rest[..end], true),
                None => (rest, false),
            };
            self.extend(line);
            rest = &rest[line.len() + usize::from(ended)..];
            if ended {
                self.end_line();
            }
        }
    }

    fn extend(&mut self, part: &[u8]) {
        if !self.first_is_whole && self.first.len() + part.len() <= LINE_MAX {
            self.first.extend_from_slice(part);
        } else if !self.first_is_whole {
            self.first.clear();
            self.first.resize(LINE_MAX, 0);
        }
        let room = self.line.len() - self.filled.min(self.line.len());
        let kept = part.len().min(room);
        self.line[self.filled..self.filled + kept].copy_from_slice(&part[..kept]);
        // Counted to the end, so that a longer name does not look like its beginning.
        self.filled += kept;
        if let Some(last) = part.last() {
            self.last = *last;
        }
    }

    fn end_line(&mut self) {
        let line = &self.line[..self.filled];
        if self.last != b'\r' {
            self.framing.bare_newline = true;
        }
        let is_empty = matches!(line, b"" | b"\r");
        if self.first_is_whole {
            let named = |name: &[u8]| {
                line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
                    && matches!(line.get(name.len()), Some(b':' | b' ' | b'\t'))
            };
            self.framing.length |= named(b"content-length");
            self.framing.coding |= named(b"transfer-encoding");
            if is_empty {
                self.at = At::After;
            }
        } else if is_empty {
            // Empty lines before a request are skipped by the library, too.
            self.first.clear();
        } else {
            self.first_is_whole = true;
        }
        (self.filled, self.last) = (0, 0);
    }

    /// What the head of this request said; `None` when it was not seen from its first byte to its last.
    pub fn of(&self, method: &str, target: &str) -> Option<Framing> {
        let first = self.first.strip_suffix(b"\r").unwrap_or(&self.first);
        let rest = first.strip_prefix(method.as_bytes())?.strip_prefix(b" ")?;
        let rest = rest.strip_prefix(target.as_bytes())?;
        (self.at == At::After && rest.starts_with(b" HTTP/")).then_some(self.framing)
    }

    /// Whether a line of what was seen ends without a carriage return.
    pub fn has_bare_newline(&self) -> bool {
        self.framing.bare_newline
    }

    /// The request is answered: the next head begins.
    pub fn forget(&mut self) {
        self.first.clear();
        *self = Self { first: std::mem::take(&mut self.first), ..Self::default() };
    }
}

fn memchr(wanted: u8, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(parts: &[&str]) -> HeadScan {
        let mut scan = HeadScan::default();
        for part in parts {
            scan.see(part.as_bytes());
        }
        scan
    }

    #[test]
    fn a_head_is_seen_in_whatever_pieces_it_comes() {
        let head =
            "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ntransfer-ENCODING: chunked\r\n\r\n";
        let both = Some(Framing { length: true, coding: true, bare_newline: false });
        for cut in 0..head.len() {
            let (one, other) = head.split_at(cut);
            assert_eq!(seen(&[one, other, "body\nContent-Length"]).of("POST", "/x"), both, "{cut}");
            assert_eq!(seen(&[one]).of("POST", "/x"), None, "{cut}");
        }
        let bytes: Vec<String> = head.chars().map(String::from).collect();
        let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(seen(&bytes).of("POST", "/x"), both);
    }

    #[test]
    fn only_names_count_and_only_whole_ones() {
        let head =
            "GET /x HTTP/1.1\r\nContent-Length-Not: 5\r\nx: transfer-encoding: a\r\nContent-Type: a\r\n\r\n";
        assert_eq!(seen(&[head]).of("GET", "/x"), Some(Framing::default()));
    }

    #[test]
    fn a_bare_newline_is_seen() {
        for head in
            ["GET /x HTTP/1.1\n\n", "GET /x HTTP/1.1\r\nhost: a\n\r\n", "GET /x HTTP/1.1\r\nhost: a\r\n\n"]
        {
            assert_eq!(
                seen(&[head]).of("GET", "/x").map(|framing| framing.bare_newline),
                Some(true),
                "{head:?}"
            );
        }
    }

    #[test]
    fn the_end_of_a_head_alone_says_nothing_about_a_request() {
        // Sent ahead together with the request before: its beginning went by unseen.
        let rest = "Transfer-Encoding: chunked\r\n\r\n";
        assert_eq!(seen(&[rest]).of("POST", "/x"), None);
        let mut scan = seen(&["POST /x HTTP/1.1\r\ncontent-length: 1\r\n\r\n"]);
        assert!(scan.of("POST", "/x").is_some() && scan.of("POST", "/y").is_none());
        scan.forget();
        assert_eq!(scan.of("POST", "/x"), None);
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(LINE_MAX));
        assert_eq!(seen(&[&long]).of("GET", "/x"), None);
    }
}
