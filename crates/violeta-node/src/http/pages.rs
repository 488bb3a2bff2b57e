//! Pages for people: nothing is loaded from elsewhere, nothing runs in the browser.

use std::fmt::{self, Display, Write};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use violeta_types::api::{BlockSummary, StatusAnswer};
use violeta_types::{Committee, Height};

use super::App;
use super::error::ApiError;
use super::routes::{self, Answer, ROUTES, Route};
use super::source::SourceError;

/// Blocks on the first page.
const BLOCKS_SHOWN: u64 = 10;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --dim: #888; --accent: #7c4dff }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { margin: 0; font-size: 1.6rem } h1 b { color: var(--accent) } h2 { margin: 2rem 0 .5rem; font-size: 1.1rem }
p.dim, .dim { color: var(--dim) } code { font-size: .9em; overflow-wrap: anywhere }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .8rem .3rem 0;
border-bottom: 1px solid var(--line); vertical-align: top } td.n, th.n { text-align: right }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0 } .cards div { border: 1px solid var(--line);
border-radius: .6rem; padding: .6rem 1rem; min-width: 8rem } .cards b { display: block; font-size: 1.4rem }
nav a { margin-right: 1rem } a { color: var(--accent) } .bad { color: #d32f2f; font-weight: 600 }";

/// Text in a page: whatever it holds, it is text.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.to_string().chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn page(title: &str, body: &str) -> Response {
    let title = Escaped(title);
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style>{body}</html>"
    ))
    .into_response()
}

/// `GET /`.
pub(crate) async fn index(State(app): State<App>) -> Result<Response, ApiError> {
    let status = app.source.status();
    let from = Height(status.height.0.saturating_sub(BLOCKS_SHOWN - 1).max(1));
    let blocks = app.on_store(move |s| s.blocks(from, BLOCKS_SHOWN as usize));
    // A page without blocks says more than none.
    let blocks = blocks.await.unwrap_or_default();
    let health = app.source.health();
    let body = glance(&status, &health.reasons, &app.source.committee(), &blocks)
        .map_err(|e| SourceError::Failed(e.to_string()))?;
    Ok(page(&format!("Violeta: {}", status.name), &body))
}

fn glance(
    status: &StatusAnswer,
    reasons: &[String],
    committee: &Committee,
    blocks: &[BlockSummary],
) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let who = match status.validator {
        Some(index) => format!("validator {index} of {}", status.validators),
        None => "a node that follows".to_owned(),
    };
    write!(
        out,
        "<h1><b>Violeta</b> {}</h1><p class=dim>{who} · chain <code>{}</code> · version {}</p>",
        Escaped(&status.name),
        status.chain,
        Escaped(&status.version)
    )?;
    for reason in reasons {
        write!(out, "<p class=bad>{}</p>", Escaped(reason))?;
    }
    out.push_str("<div class=cards>");
    for (what, value) in [
        ("height", status.height.0),
        ("certified", status.certified_height.0),
        ("sealed", status.sealed_height.0),
        ("commits", status.commit_index.0),
        ("round", status.round.0),
        ("in the mempool", status.mempool_count),
    ] {
        write!(out, "<div><b>{value}</b>{what}</div>")?;
    }
    out.push_str("</div><nav>");
    for (path, what) in [
        ("/docs", "Interface"),
        ("/openapi.json", "OpenAPI"),
        ("/v1/head", "Newest head"),
        ("/v1/blocks", "Blocks"),
        ("/v1/committee", "Committee"),
        ("/v1/genesis", "Genesis"),
        ("/v1/status", "Status"),
        ("/metrics", "Metrics"),
    ] {
        write!(out, "<a href=\"{path}\">{what}</a>")?;
    }
    out.push_str("</nav>");
    validators(&mut out, status, committee)?;
    newest_blocks(&mut out, blocks)?;
    Ok(out)
}

fn validators(out: &mut String, status: &StatusAnswer, committee: &Committee) -> fmt::Result {
    out.push_str(
        "<h2>Validators</h2><table><tr><th>index<th class=n>stake<th>key<th>seen from here",
    );
    for index in committee.indices() {
        let Some(member) = committee.member(index) else {
            continue;
        };
        let seen = match Some(index) == status.validator {
            true => "this node",
            false if status.peers.contains(&index) => "connected",
            false => "<span class=bad>not connected</span>",
        };
        write!(
            out,
            "<tr><td>{index}<td class=n>{}<td><code>{}</code><td>{seen}",
            member.stake, member.validator_key
        )?;
    }
    write!(
        out,
        "</table><p class=dim>A quorum is a stake of {} of {}; up to {} may be faulty.</p>",
        committee.quorum_stake(),
        committee.total_stake(),
        committee.fault_stake()
    )
}

fn newest_blocks(out: &mut String, blocks: &[BlockSummary]) -> fmt::Result {
    out.push_str("<h2>Newest blocks</h2>");
    if blocks.is_empty() {
        out.push_str("<p class=dim>None yet: submit a transaction.</p>");
        return Ok(());
    }
    out.push_str(
        "<table><tr><th class=n>height<th class=n>transactions<th class=n>refused<th>head",
    );
    for block in blocks.iter().rev() {
        let height = block.height;
        write!(
            out,
            "<tr><td class=n><a href=\"/v1/blocks/{height}\">{height}</a><td class=n>{}<td class=n>{}<td><code>{}</code>",
            block.transactions, block.refused, block.head
        )?;
    }
    out.push_str("</table>");
    Ok(())
}

/// `GET /openapi.json`.
pub(crate) async fn openapi() -> Result<Response, ApiError> {
    let json = routes::openapi()
        .to_json()
        .map_err(|e| SourceError::Failed(e.to_string()))?;
    Ok(([(CONTENT_TYPE, "application/json")], json).into_response())
}

/// `GET /docs`.
pub(crate) async fn docs() -> Result<Response, ApiError> {
    let body = documentation().map_err(|e| SourceError::Failed(e.to_string()))?;
    Ok(page("Violeta: HTTP interface", &body))
}

fn documentation() -> Result<String, fmt::Error> {
    let mut out = String::from(
        "<h1><b>Violeta</b> HTTP interface</h1><p>Answers are JSON unless said otherwise; errors are \
         <code>{\"error\": {\"code\", \"message\", \"help\", \"retry_ms\"}}</code>. Names, keys and values are text, or \
         <code>hex:</code> and hexadecimal digits where they aren't text. Nothing here needs to be believed: ask with \
         <code>proof=true</code> and check. For programs: <a href=\"/openapi.json\">OpenAPI</a>.</p>",
    );
    for route in ROUTES {
        document(&mut out, route)?;
    }
    Ok(out)
}

fn document(out: &mut String, route: &Route) -> fmt::Result {
    write!(
        out,
        "<h2><code>{} {}</code></h2><p>{}</p>",
        route.method,
        Escaped(route.path),
        Escaped(route.what)
    )?;
    out.push_str("<table>");
    for parameter in route.query {
        let (name, what) = (Escaped(parameter.name), Escaped(parameter.what));
        write!(out, "<tr><td><code>{name}</code><td>{what}")?;
    }
    if let Some(body) = route.body {
        write!(out, "<tr><td>body<td>{}", Escaped(body))?;
    }
    let answer = match &route.answer {
        Answer::Json(json) => json.name(),
        Answer::Proof(name) => (*name).into(),
        Answer::Text(media_type) => (*media_type).into(),
    };
    write!(out, "<tr><td>answer<td>{}", Escaped(answer))?;
    if let Some(proof) = route.proof {
        write!(out, ", or {proof} with <code>proof=true</code>")?;
    }
    if route.binary {
        out.push_str("; as borsh with <code>Accept: application/octet-stream</code>");
    }
    out.push_str("</table>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_text_whatever_it_holds() {
        let shown = Escaped("<script>alert('&\"')</script>").to_string();
        assert_eq!(
            shown,
            "&lt;script&gt;alert(&#39;&amp;&quot;&#39;)&lt;/script&gt;"
        );
    }

    #[test]
    fn every_route_is_documented() {
        let page = documentation().unwrap();
        for route in ROUTES {
            let heading = format!("{} {}", route.method, route.path);
            assert!(page.contains(&heading), "{heading}");
        }
    }
}
