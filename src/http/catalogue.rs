//! The catalogue of problems: a page for each code a problem document can carry, which its `type` leads to.
//! Never says anything of its own: what a code means and what to do stands where the code is declared.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::accept::preferred;
use super::edge::answers::Shared;
use super::problem::{Code, Explained, Problem, explained};
use super::request::Parameters;

/// The one style of the pages, which stands in each of them.
const STYLE: &str = include_str!("catalogue.css");

/// Nothing but that style, by its hash: no script, no image, no other place.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("visible ASCII")
});

/// `Content-Security-Policy`
pub(super) const CONTENT_SECURITY_POLICY: HeaderName = HeaderName::from_static("content-security-policy");

/// `GET /problems`
pub async fn problems(headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(uri.query())?.finish()?;
    static PAGE: LazyLock<Bytes> = LazyLock::new(|| page("Problems", &list()));
    static JSON: LazyLock<Bytes> =
        LazyLock::new(|| json_bytes(&json!({ "problems": explained().map(document).collect::<Vec<_>>() })));
    let mut response = match form(&headers)? {
        Form::Page => page_answer(PAGE.clone()),
        Form::Json => json_answer(JSON.clone()),
    };
    response.extensions_mut().insert(Shared);
    Ok(response)
}

/// `GET /problems/{code}`
pub async fn problem(Path(code): Path<String>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(uri.query())?.finish()?;
    let found = explained().find(|explained| explained.code == code);
    let found =
        found.ok_or_else(|| Problem::new(Code::NotFound, "there is no such code: see GET /problems"))?;
    Ok(match form(&headers)? {
        Form::Page => page_answer(page(found.code, &one(&found))),
        Form::Json => json_answer(json_bytes(&document(found))),
    })
}

/// The form the catalogue is wanted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Json,
}

/// JSON for who would rather have it; the page for everybody else: a `type` is a link people follow.
fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    preferred(headers, &[("text/html", Form::Page), ("application/json", Form::Json)]).ok_or_else(|| {
        let detail = "the catalogue of problems comes as text/html or application/json";
        Problem::new(Code::NotAcceptable, detail)
    })
}

/// A code in JSON.
fn document(explained: Explained) -> Value {
    let Explained { code, status, title, meaning, sentence, advice } = explained;
    json!({
        "type": format!("/problems/{code}"),
        "code": code,
        "status": status,
        "title": title,
        "meaning": meaning,
        "detail": sentence,
        "what_to_do": advice,
    })
}

fn json_bytes(document: &Value) -> Bytes {
    serde_json::to_vec(document).expect("strings and numbers").into()
}

fn json_answer(body: Bytes) -> Response {
    answer(body, HeaderValue::from_static("application/json"))
}

fn page_answer(body: Bytes) -> Response {
    let mut response = answer(body, HeaderValue::from_static("text/html; charset=utf-8"));
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}

fn page(title: &str, content: &Markup) -> Bytes {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " - mentorlog" }
                // Else browsers ask for /favicon.ico.
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    a href="/" { "mentorlog" } " " a href="/problems" { "Problems" } " " a href="/docs" { "API" }
                }
                main { (content) }
            }
        }
    };
    page.into_string().into()
}

/// Changes with the program only.
fn answer(body: Bytes, media: HeaderValue) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

fn list() -> Markup {
    let mut all: Vec<Explained> = explained().collect();
    // Within a status in the order of declaration: what belongs together stands together there.
    all.sort_by_key(|explained| explained.status);
    html! {
        h1 { "Problems" }
        p {
            "Whatever this service refuses, it refuses with a problem document (RFC 9457). Its "
            code { "code" } " is one of these " (all.len()) " and never changes its meaning; its " code { "type" }
            " leads here."
        }
        @for group in all.chunk_by(|one, other| one.status == other.status) {
            @let status = group[0].status;
            h2 id={ "status-" (status) } { (status) " " (reason(status)) }
            dl {
                @for explained in group {
                    dt { a href={ "/problems/" (explained.code) } { code { (explained.code) } } }
                    dd { (explained.meaning) }
                }
            }
        }
    }
}

fn one(explained: &Explained) -> Markup {
    let Explained { code, status, title, meaning, sentence, advice } = explained;
    html! {
        h1 { code { (code) } }
        p class="title" { (title) }
        dl class="one" {
            dt { "What it means" }
            dd { (meaning) }
            dt { "What to do" }
            dd { (code_in(advice)) }
            @if let Some(sentence) = sentence {
                dt { "What the answer says" }
                dd { (code_in(sentence)) }
            }
            dt { "Status" }
            dd { (status) " " (reason(*status)) }
            @if *status < 500 {
                dt { "What it changed" }
                dd { "Nothing: what is refused leaves no trace in the ledger." }
            }
        }
    }
}

/// A sentence whose parts between backticks are code.
fn code_in(text: &str) -> Markup {
    html! {
        @for (index, part) in text.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn reason(status: u16) -> &'static str {
    axum::http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::catalogue;

    #[test]
    fn each_code_that_can_be_answered_is_explained_on_a_page_of_its_own() {
        let listed = list().into_string();
        let mut pages = 0;
        for code in catalogue() {
            let explained = explained().find(|explained| explained.code == code);
            let explained = explained.unwrap_or_else(|| panic!("`{code}` is answered and not explained"));
            assert!(listed.contains(&format!("href=\"/problems/{code}\"")), "{code} is not listed");
            for (what, text) in [("meaning", explained.meaning), ("advice", explained.advice)] {
                let sentence = text.len() > 10 && text.ends_with('.') && text == text.trim();
                assert!(sentence, "the {what} of {code} is no sentence: `{text}`");
                assert_eq!(text.matches('`').count() % 2, 0, "{code}: `{text}`");
            }
            assert!(one(&explained).into_string().contains(explained.title), "{code}");
            pages += 1;
        }
        assert_eq!(pages, explained().count());
    }

    #[test]
    fn the_catalogue_is_what_it_is() {
        let all: Vec<String> = explained()
            .map(|it| format!("{} {}: {} | {}", it.status, it.code, it.meaning, it.advice))
            .collect();
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn who_would_rather_have_json_gets_json() {
        let asked = |accept: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for accept in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(accept));
            }
            form(&headers).map_err(|problem| problem.code())
        };
        assert_eq!(asked(&[]), Ok(Form::Page));
        assert_eq!(asked(&["*/*"]), Ok(Form::Page));
        assert_eq!(asked(&["text/html,application/xhtml+xml,*/*;q=0.8"]), Ok(Form::Page));
        assert_eq!(asked(&["application/json"]), Ok(Form::Json));
        assert_eq!(asked(&["Application/JSON; q=0.9", "*/*;q=0.1"]), Ok(Form::Json));
        assert_eq!(asked(&["application/json", "text/html"]), Ok(Form::Json));
        assert_eq!(asked(&["application/json;q=0.9", "text/html"]), Ok(Form::Page));
        assert_eq!(asked(&["image/png"]), Err("not-acceptable"));
    }
}
