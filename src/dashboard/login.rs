//! Where a browser shows its token, once.
//! Never says why a token is not honoured.

use maud::{Markup, html};

use super::frame;

/// The page. `to` is where to go on; `refused` says that what was shown is not honoured.
pub fn page(to: &str, refused: bool) -> Markup {
    let main = html! {
        h1 { "Log in" }
        p.lead { "These pages are for whoever holds a token of this service." }
        @if refused { div.notice.refused role="alert" { p { strong { "This token is not honoured here." } " It may be mistyped, over or revoked; whoever runs the service issues another." } } }
        form.login method="post" action="/login" {
            input type="hidden" name="to" value=(to);
            label {
                span { "Token" }
                input #token type="password" name="token" required autocomplete="current-password" spellcheck="false"
                    autocapitalize="none" placeholder="mtk_…" autofocus;
            }
            button type="submit" { "Log in" }
        }
        p.quiet { "You stay logged in on this browser for up to twelve hours, as long as the token is honoured. The token itself is not kept. What a session can do is look: commands are posted with a token." }
        p.quiet { "No token yet? On the machine of the service: " code { "mentorlog token issue --help" } "." }
    };
    frame::plain("Log in", None, &main)
}
