//! Logging in with a browser: a form takes the token once, a cookie holds a session from then on.
//! Never a token in an address, a cookie or a log, and never a session for anything but looking.
//!
//! The cookie is `HttpOnly` and `SameSite=Strict`, and `Secure` with a `__Host-` name (RFC 6265bis, section 4.1.3) where
//! the browser came over TLS. It is looked at only where the table of routes says that browsers look: `GET` of pages and
//! of what they lead to. What changes something takes a token and nothing else, so no page of others can do it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use zeroize::Zeroizing;

use super::App;
use super::guard;
use super::pages::{Shell, sent, written_out};
use super::problem::{Code, Problem, ProblemCode};
use super::request::{Parameters, read_body};
use crate::access::sessions::{LASTS_MINUTES, Session};
use crate::access::token::Token;
use crate::dashboard::login;

/// The cookie's name where the browser came over TLS: only this host can set it, and only over TLS.
const SECURE: &str = "__Host-mentorlog";

/// Its name elsewhere.
const PLAIN: &str = "mentorlog";

/// Longest form.
const FORM_BYTES_MAX: usize = 4096;

/// Where a browser goes on if it came from nowhere.
const HOME: &str = "/";

/// The session a browser shows. A plain cookie is none where there is a secure one, for another host of the same site
/// can have set it; and of two of one name neither is.
pub(super) fn sessions(headers: &HeaderMap) -> impl Iterator<Item = Session> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mine: Vec<(&str, &str)> = pairs.filter(|(name, _)| [SECURE, PLAIN].contains(name)).collect();
    let is_secure = is_over_tls(headers) || mine.iter().any(|(name, _)| *name == SECURE);
    let name = if is_secure { SECURE } else { PLAIN };
    let mut values = mine.into_iter().filter(|(other, _)| *other == name).map(|(_, value)| value);
    let value = values.next().filter(|_| values.next().is_none());
    value.and_then(|value| value.parse().ok()).into_iter()
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether a page of somebody else makes the browser ask, as far as the browser says. One that leads here is none: what
/// it sees of the answer is nothing.
pub(super) fn is_of_others(headers: &HeaderMap) -> bool {
    let is =
        |name: &str, value: &str| headers.get(name).is_some_and(|had| had.as_bytes() == value.as_bytes());
    let elsewhere = is("sec-fetch-site", "cross-site") || is("sec-fetch-site", "same-site");
    elsewhere && !is("sec-fetch-mode", "navigate")
}

/// Refuses a form that was sent from a page of others.
fn own_form(headers: &HeaderMap, target: &Uri) -> Result<(), Problem> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_own = match (text(FETCH_SITE), text(header::ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        // An older browser, or a proxy that tells the name it is asked by.
        (None, Some(origin)) => {
            let asked =
                [header::HOST, HeaderName::from_static("x-forwarded-host")].into_iter().filter_map(text);
            // By HTTP/2 the name is a part of what is asked for.
            let mut asked = asked.chain(target.authority().map(Authority::as_str));
            let from = origin.split_once("://").map(|(_, host)| host);
            asked.any(|host| from.is_some_and(|from| from.eq_ignore_ascii_case(host)))
        }
        // No browser: nobody is tricked.
        (None, None) => true,
    };
    let why = "this form was sent from a page of another site";
    if is_own { Ok(()) } else { Err(Problem::new(Code::Forbidden, why)) }
}

fn is_over_tls(headers: &HeaderMap) -> bool {
    let starts = |name: HeaderName, with: &str| {
        headers.get(name).is_some_and(|value| value.as_bytes().starts_with(with.as_bytes()))
    };
    starts(header::ORIGIN, "https://") || starts(HeaderName::from_static("x-forwarded-proto"), "https")
}

/// The cookie that holds this, or that ends whatever it held.
fn cookie(name: &str, value: Option<&str>) -> HeaderValue {
    let seconds = if value.is_some() { LASTS_MINUTES * 60 } else { 0 };
    let secure = if name == SECURE { "; Secure" } else { "" };
    let value = value.unwrap_or_default();
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    let mut value = HeaderValue::from_str(&text).expect("names, base64url and a number");
    value.set_sensitive(true);
    value
}

/// Where to go on: a page of this service, and nothing that a browser takes for another host.
fn onwards(to: Option<&str>) -> &str {
    let is_ours = |to: &&str| {
        let page = *to == HOME || *to == "/definitions" || to.starts_with("/p/");
        page && to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') && to.len() < 2048
    };
    to.filter(is_ours).unwrap_or(HOME)
}

/// The form, for whoever asked for a page and is not known.
pub(super) fn asked_to(to: &Uri) -> Response {
    let to = to.path_and_query().map(axum::http::uri::PathAndQuery::as_str);
    unknown(onwards(to), false)
}

/// Nobody is known to ask: the form, which says so if it is because of what was shown.
fn unknown(to: &str, refused: bool) -> Response {
    let mut response = sent(written_out(login::page(to, refused)));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.extensions_mut().insert(ProblemCode(Code::Unauthorized.as_str()));
    response
}

/// `GET /login`
pub(super) async fn form(uri: Uri) -> Shell {
    Parameters::read(uri.query())?.finish()?;
    Ok(sent(written_out(login::page(HOME, false))))
}

/// `POST /login`: a token for a session.
pub(super) async fn begin(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap, body: Body) -> Shell {
    Parameters::read(uri.query())?.finish()?;
    own_form(&headers, &uri)?;
    let media = headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok()).unwrap_or_default();
    if !media
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case("application/x-www-form-urlencoded")
    {
        return Err(Problem::new(Code::UnsupportedMediaType, "send the form as a browser does"));
    }
    let body = read_body(&app.edge, &headers, body, FORM_BYTES_MAX).await?;
    let text =
        std::str::from_utf8(&body.bytes).map_err(|_| Problem::new(Code::Malformed, "a form is text"))?;
    let mut fields = Parameters::read(Some(text))?;
    let token = Zeroizing::new(fields.take::<String>("token", "a token")?.unwrap_or_default());
    let to: Option<String> = fields.take("to", "a page")?;
    fields.finish()?;
    let to = onwards(to.as_deref());
    let token = token.trim().parse::<Token>().ok();
    let Some(token) = token.filter(|token| guard::honoured(&app, token).is_ok()) else {
        return Ok(unknown(to, true));
    };
    let now = app.published.clock.to_expire();
    // Who was logged in here before is not any more.
    sessions(&headers).for_each(|session| app.access.sessions.end(session.key()));
    let session = app.access.sessions.begin(token.id, now);
    let mut response = Redirect::to(to).into_response();
    let name = if is_over_tls(&headers) { SECURE } else { PLAIN };
    response.headers_mut().insert(header::SET_COOKIE, cookie(name, Some(&session.reveal())));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `POST /logout`: the session is over, here and in the browser.
pub(super) async fn end(State(app): State<Arc<App>>, request: Request) -> Shell {
    let headers = request.headers();
    own_form(headers, request.uri())?;
    sessions(headers).for_each(|session| app.access.sessions.end(session.key()));
    let mut response = Redirect::to("/login").into_response();
    // A browser takes the one of the secure name only over TLS, and has it only from there.
    for name in [PLAIN, SECURE] {
        response.headers_mut().append(header::SET_COOKIE, cookie(name, None));
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn one_goes_on_to_a_page_and_never_to_another_host() {
        for to in ["/", "/definitions", "/p/spring", "/p/spring/pairs?state=active&order=idle"] {
            assert_eq!(onwards(Some(to)), to);
        }
        for to in [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/p/\r\nset-cookie: x",
            "",
            "/v1/tokens",
            "/p/ x",
        ] {
            assert_eq!(onwards(Some(to)), HOME, "{to}");
        }
        assert_eq!(onwards(None), HOME);
    }

    #[test]
    fn a_form_of_others_is_told_by_what_the_browser_says() {
        let host = ("host", "log.example");
        for own in [
            vec![host],
            vec![host, ("sec-fetch-site", "same-origin")],
            vec![host, ("origin", "https://log.example")],
            vec![("host", "inner:1"), ("x-forwarded-host", "log.example"), ("origin", "https://log.example")],
        ] {
            assert!(own_form(&headers(&own), &Uri::from_static("/login")).is_ok(), "{own:?}");
        }
        for other in [
            vec![host, ("sec-fetch-site", "cross-site")],
            vec![host, ("sec-fetch-site", "same-site"), ("origin", "https://log.example")],
            vec![host, ("sec-fetch-site", "none")],
            vec![host, ("origin", "https://evil.example")],
            vec![host, ("origin", "null")],
        ] {
            assert!(own_form(&headers(&other), &Uri::from_static("/login")).is_err(), "{other:?}");
        }
        let by_http2 = Uri::from_static("http://log.example/login");
        assert!(own_form(&headers(&[("origin", "http://log.example")]), &by_http2).is_ok());
        assert!(own_form(&headers(&[("origin", "http://evil.example")]), &by_http2).is_err());
    }

    #[test]
    fn a_session_is_found_among_the_cookies_of_others() {
        let text = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
        let found = |cookie: &str| sessions(&headers(&[("cookie", cookie)])).count();
        assert_eq!(found(&format!("a=b; mentorlog={text}; c=d")), 1);
        assert_eq!(found(&format!("__Host-mentorlog={text}")), 1);
        assert_eq!(found(&format!("mentorlog2={text}; xmentorlog={text}; mentorlog=x")), 0);
        // What another host of the site has set is not taken for one's own.
        assert_eq!(found(&format!("mentorlog={text}; mentorlog={text}")), 0);
        assert_eq!(found(&format!("mentorlog={text}; __Host-mentorlog=x")), 0);
        let over_tls = [("cookie", &*format!("mentorlog={text}")), ("x-forwarded-proto", "https")];
        assert_eq!(sessions(&headers(&over_tls)).count(), 0);
        let (plain, secure) = (cookie(PLAIN, Some(text)), cookie(SECURE, None));
        assert_eq!(
            plain.to_str().unwrap(),
            format!("mentorlog={text}; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200")
        );
        assert_eq!(
            secure.to_str().unwrap(),
            "__Host-mentorlog=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0; Secure"
        );
    }
}
