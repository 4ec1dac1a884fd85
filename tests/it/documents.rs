//! What the service says of itself: the pages of its interface and of its problems.
//! Never takes a page from memory: each is asked for as a browser would.

use std::collections::BTreeMap;
use std::sync::Arc;

use mentorlog::http::problem::catalogue;
use mentorlog::ledger::memory::MemoryLog;

use super::harness::{Answer, Client, Machine, Service};

fn with_service(test: impl FnOnce(&mut Client)) {
    let data = tempfile::tempdir().unwrap();
    let log = Arc::new(MemoryLog::new());
    let service = Service::start(log, BTreeMap::new(), data.path(), Machine::new());
    test(&mut service.client());
    service.stop();
}

/// The value of every attribute of that name.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let begins = format!(" {attribute}=\"");
    page.split(&begins).skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// A page that can load nothing from anywhere else, whatever stands in it.
fn assert_confined(page: &Answer) {
    assert_eq!(page.status, 200, "{}", page.text());
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    for part in ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(part), "{policy}");
    }
    for loose in ["unsafe", "http:", "https:", "* "] {
        assert!(!policy.contains(loose), "{policy}");
    }
    assert!(!page.text().contains("://"), "a page leads to nobody else's");
    assert!(!page.text().contains(" style=\""), "what the policy forbids");
}

#[test]
fn the_interface_can_be_read_and_tried_with_what_the_service_itself_serves() {
    with_service(|client| {
        let page = client.get("/docs");
        assert_confined(&page);
        let mut files = 0;
        for file in values(page.text(), "href").into_iter().chain(values(page.text(), "src")) {
            if file == "data:," {
                continue;
            }
            let answer = client.get(file);
            assert_eq!(answer.status, 200, "{file}");
            let kind = answer.header("content-type").unwrap();
            let wanted = match file.rsplit_once('.') {
                Some((_, "css")) => "text/css; charset=utf-8",
                Some((_, "js")) => "text/javascript; charset=utf-8",
                Some(_) => "application/json",
                None => "text/html; charset=utf-8",
            };
            assert_eq!(kind, wanted, "{file}");
            if file.starts_with("/docs/swagger-ui") {
                assert_eq!(answer.header("content-encoding"), Some("gzip"), "{file}");
                let plain = client.send("GET", file, &[("accept-encoding", "identity")], b"");
                assert_eq!(plain.status, 406, "{file}");
            }
            files += 1;
        }
        assert_eq!(files, 9);
        // Other files of Swagger UI come with it, and lead to examples elsewhere.
        for other in ["index.html", "swagger-initializer.js", "oauth2-redirect.html", "..%2fopenapi.json"] {
            assert_eq!(client.get(&format!("/docs/{other}")).status, 404, "{other}");
        }
        assert_eq!(client.get("/docs?url=x").status, 400, "no other document can be shown in it");
    });
}

#[test]
fn the_type_of_each_problem_leads_to_a_page_that_explains_it() {
    with_service(|client| {
        let list = client.get("/problems");
        assert_confined(&list);
        let linked = values(list.text(), "href");
        for code in catalogue() {
            let path = format!("/problems/{code}");
            assert!(linked.contains(&path.as_str()), "{code} is not listed");
            let page = client.get(&path);
            assert_confined(&page);
            assert!(page.text().contains(&format!("<h1><code>{code}</code></h1>")), "{code}");
            let json = client.send("GET", &path, &[("accept", "application/json")], b"").json();
            assert_eq!((&json["code"], &json["type"]), (&code.into(), &path.into()));
        }
        // As a client meets it.
        for (method, path) in [("GET", "/nowhere"), ("DELETE", "/v1/programs"), ("GET", "/v1/programs/none")]
        {
            let problem = client.send(method, path, &[], b"").json();
            let json = [("accept", "application/json")];
            let explained = client.send("GET", problem["type"].as_str().unwrap(), &json, b"").json();
            for member in ["type", "title", "status", "code"] {
                assert_eq!(problem[member], explained[member], "{path}");
            }
        }
        let unknown = client.get("/problems/no-such-problem");
        assert_eq!((unknown.status, unknown.json()["code"].as_str()), (404, Some("not-found")));
        let json = client.send("GET", "/problems", &[("accept", "application/json")], b"").json();
        assert_eq!(json["problems"].as_array().unwrap().len(), catalogue().count());
    });
}
