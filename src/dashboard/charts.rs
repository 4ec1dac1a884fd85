//! Drawings: flows, columns, curves, areas. Plain SVG with attributes and classes, no styles, no scripts.
//! Never lets colour speak alone: everything is labelled where it is, dashed or hatched where it would be mistaken.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::frame::Sheet;
use super::numbers::{count, hours, month_ticks, whole_percent};

/// A number of user units: a tenth is finer than anybody sees.
fn px(number: f64) -> String {
    let mut text = format!("{number:.1}");
    if text.ends_with(".0") {
        text.truncate(text.len() - 2);
    }
    text
}

/// Text at a place.
fn label(x: f64, y: f64, anchor: &str, class: &str, text: &str) -> Markup {
    html! { text x=(px(x)) y=(px(y)) text-anchor=(anchor) class=(class) { (text) } }
}

fn rule(x1: f64, y1: f64, x2: f64, y2: f64, class: &str) -> Markup {
    html! { line x1=(px(x1)) y1=(px(y1)) x2=(px(x2)) y2=(px(y2)) class=(class) {} }
}

fn bar(x: f64, y: f64, width: f64, height: f64, class: &str) -> Markup {
    html! { rect x=(px(x)) y=(px(y)) width=(px(width)) height=(px(height)) class=(class) {} }
}

/// A square of the key: `class` is what it stands for.
pub fn swatch(class: &str) -> Markup {
    html! { svg viewBox="0 0 16 16" aria-hidden="true" { rect width="16" height="16" rx="2" class=(class) {} } }
}

/// A round number a little above: the top of an axis from 0.
pub fn ceiling(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(most.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    steps.into_iter().map(|step| step * unit).find(|top| *top >= most).unwrap_or(10.0 * unit)
}

/// The diagonal lines that say "not to be relied on", in the colour of what they fill.
fn hatch(sheet: &Sheet<'_>) -> Markup {
    html! {
        defs {
            pattern id=(sheet.name("hatch")) width="6" height="6" patternUnits="userSpaceOnUse"
                patternTransform="rotate(45)" {
                line x1="0" y1="0" x2="0" y2="6" class="hatch" {}
            }
        }
    }
}

// -------------------------------------------------------------------------------------------------- flows

/// What went from one to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// By its place in the order, the oldest first.
    pub from: usize,
    /// By its place in the order.
    pub to: usize,
    /// How much.
    pub minutes: u64,
    /// `blue` down the generations, `orange` up, `grey` within one.
    pub class: &'static str,
}

/// Who taught on the left, who learned on the right, the oldest on top: what falls went from older to younger, what
/// rises from younger to older.
pub fn flows(sheet: Sheet<'_>, names: &[String], flows: &[Flow]) -> Markup {
    const SLOT: f64 = 40.0;
    const GAP: f64 = 12.0;
    const TOP: f64 = 34.0;
    const NODE: f64 = 9.0;
    let margin = if sheet.is_narrow() { 88.0 } else { 150.0 };
    let (left, right) = (margin, sheet.width - margin);
    let total: u64 = flows.iter().map(|flow| flow.minutes).sum();
    let total_minutes = (total as f64).max(1.0);
    let body = if sheet.is_narrow() { 300.0 } else { 320.0 };
    let scale = body / total_minutes;
    let sum = |of: &dyn Fn(&Flow) -> usize| {
        let mut sums = vec![0_u64; names.len()];
        for flow in flows {
            sums[of(flow)] += flow.minutes;
        }
        sums
    };
    let (out, into) = (sum(&|flow| flow.from), sum(&|flow| flow.to));
    // A thin node still has room for its two lines of text.
    let places = |sums: &[u64]| {
        let mut y = TOP;
        let mut places = Vec::new();
        for &minutes in sums {
            let height = minutes as f64 * scale;
            let slot = if minutes == 0 { 0.0 } else { height.max(SLOT) };
            places.push((y + (slot - height) / 2.0, height));
            y += if minutes == 0 { 0.0 } else { slot + GAP };
        }
        (places, y)
    };
    let ((from, end_left), (to, end_right)) = (places(&out), places(&into));
    let height = end_left.max(end_right);
    let (mut out_at, mut into_at): (Vec<f64>, Vec<f64>) =
        (from.iter().map(|place| place.0).collect(), to.iter().map(|place| place.0).collect());
    let mut ribbons = Vec::new();
    for flow in flows {
        let thick = flow.minutes as f64 * scale;
        let (y0, y1) = (out_at[flow.from], into_at[flow.to]);
        out_at[flow.from] += thick;
        into_at[flow.to] += thick;
        let (x0, x1) = (left + NODE, right - NODE);
        let middle = f64::midpoint(x0, x1);
        let d = format!(
            "M{},{}C{m},{} {m},{} {},{}V{}C{m},{} {m},{} {},{}Z",
            px(x0),
            px(y0),
            px(y0),
            px(y1),
            px(x1),
            px(y1),
            px(y1 + thick),
            px(y1 + thick),
            px(y0 + thick),
            px(x0),
            px(y0 + thick),
            m = px(middle),
        );
        let class = format!("ribbon {}", flow.class);
        let says = format!("{} taught {} {}", names[flow.from], names[flow.to], hours(flow.minutes));
        ribbons.push(html! { path d=(d) class=(class) { title { (says) } } });
    }
    let side = |sums: &[u64], places: &[(f64, f64)], x: f64, text_x: f64, anchor: &str| {
        html! {
            @for (at, &minutes) in sums.iter().enumerate().filter(|(_, minutes)| **minutes > 0) {
                @let (y, tall) = places[at];
                @let middle = y + tall / 2.0;
                (bar(x, y, NODE, tall.max(1.0), "node"))
                (label(text_x, middle - 2.0, anchor, "strong", &names[at]))
                (label(text_x, middle + 14.0, anchor, "small",
                    &format!("{} · {}", hours(minutes), whole_percent(minutes as f64 / total_minutes))))
            }
        }
    };
    let inside = html! {
        (label(left + NODE, 14.0, "end", "small", "taught by"))
        (label(right - NODE, 14.0, "start", "small", "learned by"))
        @for ribbon in &ribbons { (ribbon) }
        (side(&out, &from, left, left - 8.0, "end"))
        (side(&into, &to, right - NODE, right + 8.0, "start"))
    };
    sheet.svg(height, &inside)
}

// ------------------------------------------------------------------------------------------------ columns

/// A column of one or two parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Under it; a line each.
    pub name: Vec<String>,
    /// The solid part.
    pub solid: u64,
    /// What stands hatched on it.
    pub hatched: u64,
}

/// Columns from 0, each with its count on top.
pub fn columns(sheet: Sheet<'_>, columns: &[Column], tall: f64) -> Markup {
    const TOP: f64 = 22.0;
    let lines = columns.iter().map(|column| column.name.len()).max().unwrap_or(0);
    let floor = TOP + tall;
    let most = columns.iter().map(|column| column.solid + column.hatched).max().unwrap_or(0);
    let scale = tall / (most as f64).max(1.0);
    let each = sheet.width / (columns.len() as f64).max(1.0);
    let wide = (each * 0.72).min(90.0);
    let fill = format!("url(#{})", sheet.name("hatch"));
    let height = floor + 8.0 + 16.0 * lines as f64;
    let inside = html! {
        (hatch(&sheet))
        @for (at, column) in columns.iter().enumerate() {
            @let x = each * at as f64 + (each - wide) / 2.0;
            @let (solid, hatched) = (column.solid as f64 * scale, column.hatched as f64 * scale);
            @let middle = x + wide / 2.0;
            @if column.solid > 0 { (bar(x, floor - solid, wide, solid, "blue")) }
            @if column.hatched > 0 {
                rect x=(px(x)) y=(px(floor - solid - hatched)) width=(px(wide)) height=(px(hatched)) fill=(fill) class="hatched" {}
            }
            (label(middle, floor - solid - hatched - 6.0, "middle", "strong", &count(column.solid + column.hatched)))
            @for (line, text) in column.name.iter().enumerate() {
                (label(middle, floor + 17.0 + 16.0 * line as f64, "middle", "small", text))
            }
        }
        (rule(0.0, floor, sheet.width, floor, "axis"))
    };
    sheet.svg(height, &inside)
}

/// Columns along time: a count a month (`2026-11`), with only some of the names and the greatest count.
pub fn months(sheet: Sheet<'_>, columns: &[(&str, u64)], unfinished: bool) -> Markup {
    const TOP: f64 = 22.0;
    const TALL: f64 = 120.0;
    let floor = TOP + TALL;
    let most = columns.iter().map(|(_, number)| *number).max().unwrap_or(0);
    let scale = TALL / (most as f64).max(1.0);
    let each = sheet.width / (columns.len() as f64).max(1.0);
    let wide = (each * 0.78).min(60.0);
    let room = if sheet.is_narrow() { 62.0 } else { 74.0 };
    let every = number_of(room / each).max(1);
    let numbers_fit = each > 30.0;
    let fill = format!("url(#{})", sheet.name("hatch"));
    let last = columns.len().saturating_sub(1);
    let greatest = columns.iter().position(|(_, number)| *number == most);
    let is_named = |at: usize| at.is_multiple_of(every) && last.saturating_sub(at) + 1 >= every.min(2);
    let places = (0..columns.len()).filter(|at| is_named(*at));
    let names: Vec<(usize, String)> =
        places.clone().zip(month_ticks(places.map(|at| columns[at].0))).collect();
    let inside = html! {
        (hatch(&sheet))
        @for (at, (_, number)) in columns.iter().enumerate() {
            @let x = each * at as f64 + (each - wide) / 2.0;
            @let tall = *number as f64 * scale;
            @if unfinished && at == last {
                rect x=(px(x)) y=(px(floor - tall)) width=(px(wide)) height=(px(tall)) fill=(fill) class="hatched" {}
            } @else { (bar(x, floor - tall, wide, tall, "blue")) }
            @if numbers_fit || greatest == Some(at) || at == last {
                (label(x + wide / 2.0, floor - tall - 6.0, "middle", "small", &count(*number)))
            }
        }
        @for (at, name) in &names {
            @let x = each * *at as f64 + (each - wide) / 2.0;
            // The first name may be wider than what it stands under.
            @let (x, anchor) = if *at == 0 { (x, "start") } else { (x + wide / 2.0, "middle") };
            (label(x, floor + 17.0, anchor, "small", name))
        }
        (rule(0.0, floor, sheet.width, floor, "axis"))
    };
    sheet.svg(floor + 24.0, &inside)
}

/// Rounded up; of what is far below 2^32.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a small range first")]
fn number_of(number: f64) -> usize {
    number.ceil().clamp(0.0, 1e6) as usize
}

// ------------------------------------------------------------------------------------------------- curves

/// The part of a drawing between the axes.
struct Plot {
    left: f64,
    right: f64,
    top: f64,
    floor: f64,
    /// What stands at the right end.
    most: f64,
}

impl Plot {
    fn x(&self, at: f64) -> f64 {
        self.left + (self.right - self.left) * at / self.most.max(1e-9)
    }

    fn y(&self, share: f64) -> f64 {
        self.floor - (self.floor - self.top) * share
    }

    /// Lines at every quarter, named.
    fn quarters(&self) -> Markup {
        html! {
            @for (share, name) in [(0.0, "0"), (0.25, "25%"), (0.5, "50%"), (0.75, "75%"), (1.0, "100%")] {
                (rule(self.left, self.y(share), self.right, self.y(share), if share == 0.0 { "axis" } else { "grid" }))
                (label(self.left - 7.0, self.y(share) + 4.0, "end", "small", name))
            }
        }
    }
}

/// A line of shares with its interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares {
    /// Where: from 0.
    pub at: f64,
    /// The share.
    pub share: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
}

/// A share over time. `ticks` are names at places.
pub fn line(sheet: Sheet<'_>, points: &[Shares], ticks: &[(f64, String)], most: f64) -> Markup {
    let plot = Plot {
        left: 42.0,
        right: sheet.width - if sheet.is_narrow() { 46.0 } else { 60.0 },
        top: 10.0,
        floor: 220.0,
        most,
    };
    let mut path = String::new();
    let (mut upper, mut lower) = (String::new(), Vec::new());
    for (n, point) in points.iter().enumerate() {
        let x = px(plot.x(point.at));
        let mark = if n == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{mark}{x},{}", px(plot.y(point.share)));
        let (low, high) = point.interval.unwrap_or((point.share, point.share));
        let _ = write!(upper, "{mark}{x},{}", px(plot.y(high)));
        lower.push(format!("L{x},{}", px(plot.y(low))));
    }
    lower.reverse();
    let band = format!("{upper}{}Z", lower.concat());
    let inside = html! {
        (plot.quarters())
        @if points.len() > 1 { path d=(band) class="blue band" {} path d=(path) class="line blue" {} }
        @if let Some(last) = points.last() {
            circle cx=(px(plot.x(last.at))) cy=(px(plot.y(last.share))) r="4" class="blue" {}
            (label(plot.x(last.at) + 8.0, plot.y(last.share) + 4.0, "start", "strong t-blue", &whole_percent(last.share)))
        }
        @for (at, name) in ticks { (label(plot.x(*at), plot.floor + 18.0, "middle", "small", name)) }
    };
    sheet.svg(plot.floor + 26.0, &inside)
}

/// A step of a survival curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Days since the start.
    pub day: u32,
    /// The share that goes on.
    pub survival: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
}

/// A survival curve of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct Survival {
    /// The group.
    pub name: String,
    /// Every day on which the curve may fall.
    pub steps: Vec<Step>,
    /// The last day on which anybody was watched.
    pub until: u32,
    /// At the days named on the axis: how many were at risk.
    pub at_risk: Vec<Option<u64>>,
}

/// How a group is told apart: its colour and the way its line is drawn.
pub const GROUPS: [(&str, &str); 4] =
    [("blue", ""), ("orange", "dash"), ("violet", "dot"), ("grey", "dashdot")];

/// Survival curves with their bands, and under them how many were at risk on the days of `ticks`, which are counted
/// from `from`.
pub fn survival(sheet: Sheet<'_>, groups: &[Survival], ticks: &[u32], from: &str) -> Markup {
    let narrow = sheet.is_narrow();
    let most = ticks.last().copied().unwrap_or(1);
    let one = groups.len() == 1;
    // The names stand before the numbers of those at risk, of which the first lies under the beginning of the axis.
    let longest = groups.iter().map(|group| group.name.chars().count()).max().unwrap_or(0);
    let plot = Plot {
        left: if one || narrow { 42.0 } else { (24.0 + longest as f64 * 6.6 + 26.0).max(96.0) },
        right: sheet.width - if narrow { 16.0 } else { 24.0 },
        top: 12.0,
        floor: 262.0,
        most: f64::from(most),
    };
    let risk_top = plot.floor + 48.0;
    let names_apart = narrow && !one;
    let each = if names_apart { 36.0 } else { 20.0 };
    let draw = |group: &Survival| {
        let until = group.until.min(most);
        let end = px(plot.x(f64::from(until)));
        let mut path = format!("M{},{}", px(plot.x(0.0)), px(plot.y(1.0)));
        let (mut upper, mut lower) = (path.clone(), vec![(px(plot.x(0.0)), px(plot.y(1.0)))]);
        // Two steps in one column of pixels are one: nobody sees more, and the page stays small.
        let mut drawn = String::new();
        let mut last = (String::new(), String::new(), String::new());
        for step in group.steps.iter().filter(|step| step.day <= until) {
            let x = px(plot.x(f64::from(step.day)).round());
            let (low, high) = step.interval.unwrap_or((step.survival, step.survival));
            let now = (px(plot.y(step.survival)), px(plot.y(high)), px(plot.y(low)));
            if now == last {
                continue;
            }
            if x == drawn {
                let _ = write!(path, "V{}", now.0);
                let _ = write!(upper, "V{}", now.1);
            } else {
                let _ = write!(path, "H{x}V{}", now.0);
                let _ = write!(upper, "H{x}V{}", now.1);
            }
            lower.push((x.clone(), now.2.clone()));
            drawn = x;
            last = now;
        }
        let _ = write!(path, "H{end}");
        let mut band = format!("{upper}H{end}");
        for (n, (x, y)) in lower.iter().enumerate().rev() {
            let _ = write!(band, "V{y}");
            if n > 0 {
                let _ = write!(band, "H{x}");
            }
        }
        (path, format!("{band}Z"))
    };
    let inside = html! {
        (plot.quarters())
        @for (group, (colour, dash)) in groups.iter().zip(GROUPS) {
            @let (path, band) = draw(group);
            path d=(band) class={ (colour) " band" } {}
            path d=(path) class={ "line " (colour) " " (dash) } {}
        }
        @for day in ticks {
            @let x = plot.x(f64::from(*day));
            (rule(x, plot.floor, x, plot.floor + 5.0, "axis"))
            (label(x, plot.floor + 19.0, "middle", "small", &day.to_string()))
        }
        (label(plot.left, plot.floor + 36.0, "start", "small", &format!("days since {from}; {}",
            if narrow { "below: still watched" } else { "below, how many were still watched and going on" })))
        @for (row, (group, (colour, dash))) in groups.iter().zip(GROUPS).enumerate() {
            @let y = risk_top + each * row as f64 + if names_apart { 16.0 } else { 0.0 };
            @if !one {
                @let (name_x, name_y) = if narrow { (plot.left - 14.0, y + 2.0) } else { (24.0, y + 12.0) };
                @let line_x = if narrow { plot.left - 38.0 } else { 0.0 };
                (rule(line_x, name_y - 4.0, line_x + 20.0, name_y - 4.0, &format!("line {colour} {dash}")))
                (label(name_x, name_y, "start", &format!("small t-{colour}"), &group.name))
            }
            @for (day, number) in ticks.iter().zip(&group.at_risk) {
                (label(plot.x(f64::from(*day)), y + if names_apart { 18.0 } else { 12.0 }, "middle", "small",
                    &number.map_or_else(|| "–".to_owned(), count)))
            }
        }
    };
    let rows = groups.len() as f64;
    sheet.svg(risk_top + each * rows + if names_apart { 22.0 } else { 4.0 }, &inside)
}

/// One of several areas that make 1 together, from the floor up.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// What it is.
    pub name: String,
    /// Its class.
    pub class: &'static str,
    /// Its share at each of the days.
    pub shares: Vec<f64>,
}

/// Areas on top of each other over days, named at the right end where they are thick enough.
pub fn stacked(sheet: Sheet<'_>, days: &[u32], layers: &[Layer], ticks: &[u32]) -> Markup {
    let narrow = sheet.is_narrow();
    let plot = Plot {
        left: 42.0,
        right: sheet.width - if narrow { 124.0 } else { 190.0 },
        top: 12.0,
        floor: 262.0,
        most: f64::from(days.last().copied().unwrap_or(1)),
    };
    let mut base = vec![0.0; days.len()];
    let mut areas = Vec::new();
    let mut labels: Vec<(f64, String, &'static str)> = Vec::new();
    for layer in layers {
        let top: Vec<f64> = base.iter().zip(&layer.shares).map(|(low, share)| low + share).collect();
        let mut path = String::new();
        for (n, (day, share)) in days.iter().zip(&top).enumerate() {
            let mark = if n == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{mark}{},{}", px(plot.x(f64::from(*day))), px(plot.y(share.min(1.0))));
        }
        for (day, share) in days.iter().zip(&base).rev() {
            let _ = write!(path, "L{},{}", px(plot.x(f64::from(*day))), px(plot.y(share.min(1.0))));
        }
        path.push('Z');
        areas.push((path, layer.class));
        if let (Some(low), Some(high)) = (base.last(), top.last()) {
            let share = layer.shares.last().copied().unwrap_or(0.0);
            let text = format!("{} {}", whole_percent(share), layer.name);
            labels.push((plot.y(f64::midpoint(*low, *high)) + 4.0, text, layer.class));
        }
        base = top;
    }
    // From the floor up, two lines of text apart at least.
    let each = if narrow { 30.0 } else { 18.0 };
    let mut below = plot.floor + each;
    for (y, _, _) in &mut labels {
        *y = y.min(below - each);
        below = *y;
    }
    let inside = html! {
        (plot.quarters())
        @for (path, class) in &areas { path d=(path) class={ (class) " area" } {} }
        @for (y, text, class) in &labels {
            @let (share, name) = text.split_once(' ').unwrap_or((text, ""));
            @let class = if *class == "gone" { "t-grey" } else { class };
            @if narrow {
                (label(plot.right + 8.0, *y - 6.0, "start", &format!("strong t-{class}"), share))
                (label(plot.right + 8.0, *y + 7.0, "start", "small", name))
            } @else {
                (label(plot.right + 8.0, *y, "start", &format!("strong t-{class}"), text))
            }
        }
        @for day in ticks {
            @let x = plot.x(f64::from(*day));
            (rule(x, plot.floor, x, plot.floor + 5.0, "axis"))
            (label(x, plot.floor + 19.0, "middle", "small", &day.to_string()))
        }
        (label(plot.left, plot.floor + 36.0, "start", "small", "days since the start"))
    };
    sheet.svg(plot.floor + 42.0, &inside)
}

// -------------------------------------------------------------------------------------- supply and demand

/// What is offered and what is sought of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// The thing.
    pub name: String,
    /// To the left.
    pub offered: u64,
    /// To the right.
    pub sought: u64,
}

/// People who offer to the left, people who seek to the right of what it is.
pub fn demand(sheet: Sheet<'_>, rows: &[Demand]) -> Markup {
    const TOP: f64 = 26.0;
    // A long name stands on two lines where there is room for one of so many letters only.
    let each = if sheet.is_narrow() { 36.0 } else { 26.0 };
    let middle = if sheet.is_narrow() { 128.0 } else { 200.0 };
    let side = (sheet.width - middle) / 2.0;
    let (left, right) = (side, side + middle);
    let room = side - 34.0;
    let most = rows.iter().map(|row| row.offered.max(row.sought)).max().unwrap_or(0);
    let scale = room / (most as f64).max(1.0);
    let fits = if sheet.is_narrow() { 16 } else { 28 };
    let inside = html! {
        (label(left, 14.0, "end", "small", if sheet.is_narrow() { "offer it" } else { "people who offer it" }))
        (label(right, 14.0, "start", "small", if sheet.is_narrow() { "seek it" } else { "people who seek it" }))
        @for (at, row) in rows.iter().enumerate() {
            @let y = TOP + each * at as f64 + (each - 26.0) / 2.0;
            @let (offered, sought) = (row.offered as f64 * scale, row.sought as f64 * scale);
            @let short = row.sought > row.offered;
            (bar(left - offered, y, offered, 17.0, "blue"))
            (bar(right, y, sought, 17.0, if short { "orange" } else { "grey" }))
            (label(left - offered - 6.0, y + 13.0, "end", "small", &count(row.offered)))
            (label(right + sought + 6.0, y + 13.0, "start", "small", &count(row.sought)))
            @let lines = lines(&row.name, fits);
            @for (line, text) in lines.iter().enumerate() {
                @let y = y + 13.0 + 15.0 * (line as f64 - (lines.len() as f64 - 1.0) / 2.0);
                (label(side + middle / 2.0, y, "middle", if short { "strong" } else { "" }, text))
            }
        }
    };
    sheet.svg(TOP + each * rows.len() as f64, &inside)
}

/// A text on at most two lines of at most so many letters, broken between words.
fn lines(text: &str, most: usize) -> Vec<String> {
    if text.chars().count() <= most {
        return vec![text.to_owned()];
    }
    let mut breaks = text.match_indices(' ').map(|(at, _)| at);
    let best = breaks.rfind(|at| text[..*at].chars().count() <= most);
    match best {
        None => vec![cut(text, most)],
        Some(at) => vec![text[..at].to_owned(), cut(&text[at + 1..], most)],
    }
}

/// A text of at most so many letters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

// ------------------------------------------------------------------------------------------ a pair's time

/// A session of a pair: what each taught.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Meeting {
    /// Where: days from the left end.
    pub at: f64,
    /// Minutes the first taught.
    pub up: u64,
    /// Minutes the second taught.
    pub down: u64,
    /// Whether it counts; if not it is only outlined.
    pub counts: bool,
}

/// A bar up for what one taught, a bar down for what the other did, where on the calendar it was.
pub fn meetings(
    sheet: Sheet<'_>,
    (a, b): (&str, &str),
    meetings: &[Meeting],
    ticks: &[(f64, String)],
    days: f64,
) -> Markup {
    const SIDE: f64 = 84.0;
    const TOP: f64 = 24.0;
    let middle = TOP + SIDE;
    let plot = Plot { left: 8.0, right: sheet.width - 8.0, top: TOP, floor: middle + SIDE, most: days };
    let most = meetings.iter().map(|one| one.up.max(one.down)).max().unwrap_or(0);
    let scale = (SIDE - 4.0) / (most as f64).max(1.0);
    let wide = ((plot.right - plot.left) / (days + 1.0)).clamp(2.0, 10.0);
    let inside = html! {
        (label(plot.left, 14.0, "start", "strong t-blue", &format!("{a} taught")))
        @for one in meetings {
            @let x = plot.x(one.at) - wide / 2.0;
            @let (up, down) = (one.up as f64 * scale, one.down as f64 * scale);
            @let (of_a, of_b) = if one.counts { ("blue", "orange") } else { ("gone", "gone") };
            @if one.up > 0 { (bar(x, middle - up, wide, up, of_a)) }
            @if one.down > 0 { (bar(x, middle, wide, down, of_b)) }
        }
        (rule(plot.left, middle, plot.right, middle, "axis"))
        @for (at, name) in ticks {
            @let x = plot.x(*at);
            (rule(x, plot.floor, x, plot.floor + 5.0, "axis"))
            (label(x, plot.floor + 19.0, "middle", "small", name))
        }
        (label(plot.left, plot.floor + 42.0, "start", "strong t-orange", &format!("{b} taught")))
    };
    sheet.svg(plot.floor + 50.0, &inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_ends_at_a_round_number() {
        for (most, top) in [(0.0, 1.0), (1.0, 1.0), (3.0, 5.0), (17.0, 20.0), (240.0, 250.0), (999.0, 1000.0)]
        {
            assert!((ceiling(most) - top).abs() < 1e-9, "{most}: {}", ceiling(most));
        }
    }

    #[test]
    fn what_does_not_fit_ends_in_an_ellipsis() {
        assert_eq!(cut("public-speaking", 8), "public-…");
        assert_eq!(cut("rust", 8), "rust");
    }
}
