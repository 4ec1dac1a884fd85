//! `/docs`: the document of the interface to read and to try, by Swagger UI out of the binary.
//! Never asks another host for anything, and has no script of its own but the few lines that begin it.

use std::sync::{Arc, LazyLock};

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use maud::{DOCTYPE, html};
use utoipa_swagger_ui::Config;

use super::accept::takes_coding;
use super::catalogue::CONTENT_SECURITY_POLICY;
use super::edge::answers::Shared;
use super::problem::{Code, Problem};
use super::request::Parameters;

/// The files there are: of Swagger UI the two that are needed, what makes its words legible, and what begins it.
pub(super) const FILES: [&str; 4] = ["swagger-ui.css", "swagger-ui-bundle.js", OWN, START];

const OWN: &str = "own.css";

/// Colours with the contrast that WCAG 2.2 asks for (AA).
const OWNS: &str = include_str!("docs.css");

const START: &str = "start.js";

/// No validator: Swagger UI would send the document to one of its makers'. No choice of servers: there is one.
const STARTS: &str = "\
addEventListener('load', () => {
  SwaggerUIBundle({
    url: '/openapi.json',
    dom_id: '#docs',
    deepLinking: true,
    docExpansion: 'none',
    defaultModelsExpandDepth: 0,
    presets: [SwaggerUIBundle.presets.apis],
    plugins: [() => ({ wrapComponents: { ServersContainer: () => () => null } })],
    layout: 'BaseLayout',
    validatorUrl: null,
  });
});
";

/// Scripts and styles from here, images that stand in the style, requests to here. React writes styles through the
/// object model, which needs no `unsafe-inline`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECONDS: HeaderValue = HeaderValue::from_static("max-age=3600");

/// `GET /docs`
pub async fn page(uri: Uri) -> Result<Response, Problem> {
    Parameters::read(uri.query())?.finish()?;
    static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { "API - mentorlog" }
                    // Else browsers ask for /favicon.ico.
                    link rel="icon" href="data:,";
                    link rel="stylesheet" href="/docs/swagger-ui.css";
                    link rel="stylesheet" href="/docs/own.css";
                    script src="/docs/swagger-ui-bundle.js" defer {}
                    script src="/docs/start.js" defer {}
                }
                body {
                    p class="back" {
                        a href="/" { "mentorlog" } " " a href="/problems" { "Problems" } " " a href="/openapi.json" { "openapi.json" }
                    }
                    main id="docs" {}
                    noscript {
                        p {
                            "This page needs JavaScript. The document itself is at "
                            a href="/openapi.json" { "/openapi.json" } ", every problem at "
                            a href="/problems" { "/problems" } "."
                        }
                    }
                }
            }
        };
        page.into_string().into()
    });
    let mut response = PAGE.clone().into_response();
    response.extensions_mut().insert(Shared);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    Ok(response)
}

/// `GET /docs/{file}`
pub async fn file(Path(name): Path<String>, headers: HeaderMap, uri: Uri) -> Result<Response, Problem> {
    Parameters::read(uri.query())?.finish()?;
    let nothing = || Problem::new(Code::NoSuchPath, "there is no such file: see /docs");
    if name == START {
        return Ok(asset(Bytes::from_static(STARTS.as_bytes()), "text/javascript; charset=utf-8", false));
    }
    if name == OWN {
        return Ok(asset(Bytes::from_static(OWNS.as_bytes()), "text/css; charset=utf-8", false));
    }
    // The others of Swagger UI are not needed, and lead elsewhere.
    let name = FILES.into_iter().find(|file| *file == name).ok_or_else(nothing)?;
    // Once for all who ask: the library copies them.
    static KEPT: LazyLock<Vec<Kept>> = LazyLock::new(kept);
    let file = KEPT.iter().find(|kept| kept.name == name).ok_or_else(nothing)?;
    if file.is_gzipped && !takes_coding(&headers, "gzip") {
        return Err(Problem::new(Code::NotAcceptable, "the file comes compressed with gzip"));
    }
    let media = if name == FILES[0] { "text/css; charset=utf-8" } else { "text/javascript; charset=utf-8" };
    Ok(asset(file.bytes.clone(), media, file.is_gzipped))
}

/// A file of Swagger UI.
struct Kept {
    name: &'static str,
    bytes: Bytes,
    is_gzipped: bool,
}

fn kept() -> Vec<Kept> {
    let config = Arc::new(Config::from("/openapi.json"));
    let file = |name| {
        let file = utoipa_swagger_ui::serve(name, config.clone()).ok().flatten()?;
        Some(Kept { name, bytes: file.bytes.into_owned().into(), is_gzipped: file.gzpipped })
    };
    FILES.into_iter().filter_map(file).collect()
}

fn asset(body: Bytes, media: &'static str, gzipped: bool) -> Response {
    let mut response = body.into_response();
    response.extensions_mut().insert(Shared);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, SECONDS);
    if gzipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}
