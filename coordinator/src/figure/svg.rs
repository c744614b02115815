//! Shapes and text as SVG: presentation attributes only, so that a page needs no style of ours,
//! and no ids, so that several figures can stand in one page.

use std::fmt::Write;

use super::palette::Colours;
use super::text::FAMILY;

/// Coordinates beyond this are cut off: they would lie far outside of any figure.
const COORDINATE_MAX: f64 = 1e6;

/// A rectangle of less is none, nor is a line.
const SIDE_MIN: f64 = 0.01;

/// How a line is drawn.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Stroke {
    pub colour: &'static str,
    pub width: f64,
    /// A `stroke-dasharray`; empty for a solid line.
    pub dash: &'static str,
    pub opacity: f64,
}

impl Stroke {
    pub fn solid(colour: &'static str, width: f64) -> Stroke {
        Stroke { colour, width, dash: "", opacity: 1.0 }
    }
}

/// Which point of a text lies where it is put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A text's look.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Type {
    pub size: f64,
    pub colour: &'static str,
    pub anchor: Anchor,
    /// Degrees, clockwise, around its point.
    pub turn: f64,
}

impl Type {
    pub fn new(size: f64, colour: &'static str, anchor: Anchor) -> Type {
        Type { size, colour, anchor, turn: 0.0 }
    }

    pub fn turned(self, degrees: f64) -> Type {
        Type { turn: degrees, ..self }
    }
}

/// A point of the figure, in pixels from its upper left corner.
pub(super) type Point = (f64, f64);

/// A marker's shape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Marker {
    Circle,
    Square,
    Up,
    Diamond,
    Down,
    Cross,
    Plus,
}

/// A figure that is being drawn.
pub(super) struct Canvas {
    body: String,
    pub colours: Colours,
    pub width: f64,
    pub height: f64,
}

impl Canvas {
    pub fn new(colours: Colours, width: f64, height: f64) -> Canvas {
        let mut canvas = Canvas { body: String::new(), colours, width, height };
        canvas.rect("background", (0.0, 0.0), (width, height), colours.background, 1.0);
        canvas
    }

    /// Nothing where it would have no length.
    pub fn line(&mut self, class: &str, from: Point, to: Point, stroke: Stroke) {
        if (from.0 - to.0).abs().max((from.1 - to.1).abs()) < SIDE_MIN {
            return;
        }
        let _ = write!(
            self.body,
            r#"<line class="{class}" x1="{}" y1="{}" x2="{}" y2="{}""#,
            number(from.0),
            number(from.1),
            number(to.0),
            number(to.1)
        );
        self.stroke(stroke);
        self.body.push_str("/>\n");
    }

    pub fn polyline(&mut self, class: &str, points: &[Point], stroke: Stroke) {
        let _ = write!(self.body, r#"<polyline class="{class}" points=""#);
        self.points(points);
        self.body.push_str(r#"" fill="none" stroke-linejoin="round""#);
        self.stroke(stroke);
        self.body.push_str("/>\n");
    }

    /// A polyline of a colour between those of a theme.
    pub fn shaded_polyline(
        &mut self,
        class: &str,
        points: &[Point],
        colour: &str,
        width: f64,
        opacity: f64,
    ) {
        let _ = write!(self.body, r#"<polyline class="{class}" points=""#);
        self.points(points);
        self.body.push_str(r#"" fill="none" stroke-linejoin="round""#);
        let (width, opacity) = (number(width), number(opacity));
        let _ = write!(self.body, r#" stroke="{colour}" stroke-width="{width}""#);
        let _ = writeln!(self.body, r#" stroke-opacity="{opacity}"/>"#);
    }

    pub fn polygon(&mut self, class: &str, points: &[Point], fill: &str, opacity: f64) {
        let _ = write!(self.body, r#"<polygon class="{class}" points=""#);
        self.points(points);
        let _ = writeln!(self.body, r#"" fill="{fill}" fill-opacity="{}"/>"#, number(opacity));
    }

    /// Nothing where it would have no area.
    pub fn rect(&mut self, class: &str, at: Point, size: Point, fill: &str, opacity: f64) {
        if size.0.min(size.1) < SIDE_MIN {
            return;
        }
        self.shape(class, at, size);
        let _ = writeln!(self.body, r#" fill="{fill}" fill-opacity="{}"/>"#, number(opacity));
    }

    pub fn outline(&mut self, class: &str, at: Point, size: Point, stroke: Stroke) {
        if size.0.min(size.1) < SIDE_MIN {
            return;
        }
        self.shape(class, at, size);
        self.body.push_str(r#" fill="none""#);
        self.stroke(stroke);
        self.body.push_str("/>\n");
    }

    fn shape(&mut self, class: &str, at: Point, size: Point) {
        let _ = write!(
            self.body,
            r#"<rect class="{class}" x="{}" y="{}" width="{}" height="{}""#,
            number(at.0),
            number(at.1),
            number(size.0),
            number(size.1)
        );
    }

    pub fn dot(&mut self, class: &str, at: Point, radius: f64, fill: &str, opacity: f64) {
        let _ = writeln!(
            self.body,
            r#"<circle class="{class}" cx="{}" cy="{}" r="{}" fill="{fill}" fill-opacity="{}"/>"#,
            number(at.0),
            number(at.1),
            number(radius),
            number(opacity)
        );
    }

    /// A marker with a thin edge of the background's colour, so that those that overlap can be
    /// told apart.
    pub fn marker(&mut self, class: &str, marker: Marker, at: Point, radius: f64, fill: &str) {
        self.marker_of(class, marker, at, radius, (fill, self.colours.background));
    }

    /// A marker that is an outline.
    pub fn hollow(&mut self, class: &str, marker: Marker, at: Point, radius: f64, colour: &str) {
        self.marker_of(class, marker, at, radius, (self.colours.background, colour));
    }

    fn marker_of(
        &mut self,
        class: &str,
        marker: Marker,
        at: Point,
        radius: f64,
        (fill, edge): (&str, &str),
    ) {
        let (x, y) = at;
        let r = radius;
        let corners: &[Point] = match marker {
            Marker::Circle => {
                let (x, y, r) = (number(x), number(y), number(r));
                let _ = write!(self.body, r#"<circle class="{class}" cx="{x}" cy="{y}" r="{r}""#);
                let _ = writeln!(self.body, r#" fill="{fill}" stroke="{edge}"/>"#);
                return;
            }
            Marker::Square => {
                let s = 0.9 * r;
                &[(x - s, y - s), (x + s, y - s), (x + s, y + s), (x - s, y + s)]
            }
            Marker::Up => {
                &[(x, y - 1.2 * r), (x + 1.1 * r, y + 0.8 * r), (x - 1.1 * r, y + 0.8 * r)]
            }
            Marker::Down => {
                &[(x, y + 1.2 * r), (x + 1.1 * r, y - 0.8 * r), (x - 1.1 * r, y - 0.8 * r)]
            }
            Marker::Diamond => {
                let s = 1.25 * r;
                &[(x, y - s), (x + s, y), (x, y + s), (x - s, y)]
            }
            // Turned by 45 degrees, a plus is a cross.
            Marker::Cross => &plus(r).map(|it| (x + turned(it).0, y + turned(it).1)),
            Marker::Plus => &plus(r).map(|it| (x + it.0, y + it.1)),
        };
        let _ = write!(self.body, r#"<polygon class="{class}" points=""#);
        self.points(corners);
        let _ = writeln!(self.body, r#"" fill="{fill}" stroke="{edge}"/>"#);
    }

    pub fn text(&mut self, class: &str, at: Point, look: Type, text: &str) {
        let anchor = match look.anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y) = (number(at.0), number(at.1));
        let _ = write!(
            self.body,
            r#"<text class="{class}" x="{x}" y="{y}" font-size="{}" fill="{}""#,
            number(look.size),
            look.colour
        );
        let _ = write!(self.body, r#" text-anchor="{anchor}""#);
        if look.turn != 0.0 {
            let _ = write!(self.body, r#" transform="rotate({} {x} {y})""#, number(look.turn));
        }
        let _ = writeln!(self.body, ">{}</text>", escaped(text));
    }

    /// What follows until `end` belongs together; a reader's pointer shows the title.
    pub fn begin(&mut self, class: &str, title: &str) {
        let _ = writeln!(self.body, r#"<g class="{class}">"#);
        if !title.is_empty() {
            let _ = writeln!(self.body, "<title>{}</title>", escaped(title));
        }
    }

    pub fn end(&mut self) {
        self.body.push_str("</g>\n");
    }

    /// The whole figure. Title and description are what a screen reader says.
    pub fn finish(self, title: &str, description: &str) -> String {
        let (width, height) = (number(self.width), number(self.height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" \
             height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"{FAMILY}\">\n\
             <title>{}</title>\n<desc>{}</desc>\n{}</svg>\n",
            escaped(title),
            escaped(description),
            self.body
        )
    }

    fn stroke(&mut self, stroke: Stroke) {
        let _ = write!(
            self.body,
            r#" stroke="{}" stroke-width="{}""#,
            stroke.colour,
            number(stroke.width)
        );
        if !stroke.dash.is_empty() {
            let _ = write!(self.body, r#" stroke-dasharray="{}""#, stroke.dash);
        }
        if stroke.opacity < 1.0 {
            let _ = write!(self.body, r#" stroke-opacity="{}""#, number(stroke.opacity));
        }
    }

    fn points(&mut self, points: &[Point]) {
        for (at, (x, y)) in points.iter().enumerate() {
            let gap = if at == 0 { "" } else { " " };
            let _ = write!(self.body, "{gap}{},{}", number(*x), number(*y));
        }
    }
}

/// Around (0, 0).
fn plus(radius: f64) -> [Point; 12] {
    const OUTER: f64 = 1.2;
    const INNER: f64 = 0.4;
    let corners = [
        (-INNER, -OUTER),
        (INNER, -OUTER),
        (INNER, -INNER),
        (OUTER, -INNER),
        (OUTER, INNER),
        (INNER, INNER),
        (INNER, OUTER),
        (-INNER, OUTER),
        (-INNER, INNER),
        (-OUTER, INNER),
        (-OUTER, -INNER),
        (-INNER, -INNER),
    ];
    corners.map(|(x, y)| (radius * x, radius * y))
}

fn turned((x, y): Point) -> Point {
    let half = std::f64::consts::FRAC_1_SQRT_2;
    (half * (x - y), half * (x + y))
}

/// Two decimals at most, no exponent.
fn number(value: f64) -> String {
    if !value.is_finite() {
        return "0".into();
    }
    let text = format!("{:.2}", value.clamp(-COORDINATE_MAX, COORDINATE_MAX));
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".into() } else { short.into() }
}

/// Text for XML: what XML does not allow at all is shown as unknown.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn coordinates_are_short_and_always_numbers() {
        let cases = [
            (1.0, "1"),
            (1.005, "1"),
            (-0.001, "0"),
            (12.345, "12.35"),
            (f64::NAN, "0"),
            (f64::INFINITY, "0"),
            (1e300, "1000000"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }

    proptest! {
        /// What a parser reads back is what went in, but for what XML cannot hold.
        #[test]
        fn escaped_text_reads_back(text in any::<String>()) {
            let document = format!("<a b=\"{0}\">{0}</a>", escaped(&text));
            let parsed = roxmltree::Document::parse(&document).unwrap();
            let kept = |c: char| match c {
                '\t' | '\n' | '\r' => ' ',
                '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
                c if c.is_control() => '\u{fffd}',
                c => c,
            };
            let expected: String = text.chars().map(kept).collect();
            prop_assert_eq!(parsed.root_element().text().unwrap_or(""), &expected);
            prop_assert_eq!(parsed.root_element().attribute("b"), Some(&*expected));
        }
    }
}
