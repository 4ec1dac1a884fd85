//! Which of the forms there are a caller wants most (RFC 9110, section 12.5).
//! Never guesses: who says nothing gets the first one, who wants none of them is told which there are.

use axum::http::{HeaderMap, HeaderName, header};

/// A weight, in thousandths.
const WHOLE: u16 = 1000;

/// How much a form is wanted: its weight, how exactly it is named, how early.
type Rank = (u16, u8, std::cmp::Reverse<usize>);

/// The form the caller prefers, of media types in the order in which they are given where nothing is said. `None` if
/// the caller takes none of them.
///
/// The most specific range that names a form decides how much it is wanted. Of forms that are wanted alike comes the one
/// with the more specific range, then the one that is named first.
pub(super) fn preferred<T: Copy>(headers: &HeaderMap, forms: &[(&str, T)]) -> Option<T> {
    let said = said(headers, &header::ACCEPT);
    if said.is_empty() {
        return forms.first().map(|(_, form)| *form);
    }
    let mut best: Option<(Rank, T)> = None;
    for (media, form) in forms {
        let matching = said.iter().enumerate().filter_map(|(place, said)| {
            let specific = specificity(&said.range, media)?;
            Some((specific, std::cmp::Reverse(place), said.weight))
        });
        let Some((specific, place, weight)) = matching.max_by_key(|(specific, place, _)| (*specific, *place))
        else {
            continue;
        };
        let rank = (weight, specific, place);
        if weight > 0 && best.as_ref().is_none_or(|(best, _)| rank > *best) {
            best = Some((rank, *form));
        }
    }
    best.map(|(_, form)| form)
}

/// Whether the caller takes a body in this coding. Who says nothing takes any (RFC 9110, section 12.5.3).
pub(super) fn takes_coding(headers: &HeaderMap, coding: &str) -> bool {
    if !headers.contains_key(header::ACCEPT_ENCODING) {
        return true;
    }
    let said = said(headers, &header::ACCEPT_ENCODING);
    let of = |name: &str| said.iter().find(|said| said.range == name).map(|said| said.weight);
    of(coding).or_else(|| of("*")).is_some_and(|weight| weight > 0)
}

/// One of the things a caller takes.
struct Said {
    /// In lower case, without parameters.
    range: String,
    weight: u16,
}

/// Everything a header says, in order, over all its lines.
fn said(headers: &HeaderMap, name: &HeaderName) -> Vec<Said> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let parts = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|part| !part.is_empty());
    let read = |part: &str| {
        let mut parameters = part.split(';').map(str::trim);
        let range = parameters.next().unwrap_or_default().to_ascii_lowercase();
        let weight = parameters.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim_end().eq_ignore_ascii_case("q").then(|| weight(value.trim()))
        });
        Said { range, weight: weight.unwrap_or(WHOLE) }
    };
    parts.map(read).collect()
}

/// `0.85` as 850. What is no weight says nothing: as if it were not there.
fn weight(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    match (whole, digits) {
        ("0", true) => format!("{fraction:0<3}").parse().unwrap_or(WHOLE),
        _ => WHOLE,
    }
}

/// How exactly a range names a media type: 2 by name, 1 by its kind, 0 as anything; `None` if it does not.
fn specificity(range: &str, media: &str) -> Option<u8> {
    let kind = media.split('/').next().unwrap_or_default();
    if range == media {
        Some(2)
    } else if range.strip_suffix("/*") == Some(kind) {
        Some(1)
    } else if matches!(range, "*/*" | "*") {
        Some(0)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn the_form_that_is_wanted_most_is_given() {
        let forms = [("application/json", 'j'), ("application/x-ndjson", 'l'), ("text/plain", 't')];
        let check = |lines: &[&'static str], wanted: Option<char>| {
            assert_eq!(preferred(&headers(&header::ACCEPT, lines), &forms), wanted, "{lines:?}");
        };
        for all in [&[][..], &[""], &[" , "], &["*/*"], &["*"], &["image/png, */*;q=0.1"]] {
            check(all, Some('j'));
        }
        check(&["application/x-ndjson"], Some('l'));
        check(&["Text/Plain; charset=utf-8"], Some('t'));
        // By weight, whatever the order, over several lines.
        check(&["application/x-ndjson;q=0.5, text/plain"], Some('t'));
        check(&["application/x-ndjson;q=0.5, application/json;q=0.4"], Some('l'));
        check(&["text/plain;q=0.001", "application/json; Q = 0.01"], Some('j'));
        check(&["text/plain;q=0.9, */*;q=0.8"], Some('t'));
        check(&["text/plain;level=1;q=0.2, application/json;q=0.1, application/*;q=0.15"], Some('t'));
        // Of two alike the more exact, then the first that is named.
        check(&["*/*, text/plain"], Some('t'));
        check(&["application/*, text/plain"], Some('t'));
        check(&["application/x-ndjson, application/json"], Some('l'));
        check(&["application/json, application/x-ndjson"], Some('j'));
        // What is refused is not given, though anything is taken.
        check(&["*/*, application/json;q=0"], Some('l'));
        check(&["application/*;q=0.000, */*"], Some('t'));
        for none in
            [&["image/png"][..], &["application/json;q=0"], &["*/*;q=0.0"], &["applicationx/*"], &["json"]]
        {
            check(none, None);
        }
    }

    #[test]
    fn a_file_is_compressed_for_whoever_takes_that() {
        let takes = |lines: &[&'static str]| takes_coding(&headers(&header::ACCEPT_ENCODING, lines), "gzip");
        for yes in [&[][..], &["gzip, deflate, br"], &["*;q=0.1"], &["br", "GZIP;q=0.5"], &["*;q=0, gzip"]] {
            assert!(takes(yes), "{yes:?}");
        }
        for no in [&["identity"][..], &[""], &["gzip;q=0, identity"], &["gzip;q=0.000, *"], &["*;q=0"]] {
            assert!(!takes(no), "{no:?}");
        }
    }
}
