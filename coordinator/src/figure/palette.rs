//! Colours, dashes and markers. The categorical colours are those of Okabe and Ito, which readers
//! with the common kinds of colour blindness tell apart; yellow is left out on white, black on
//! dark. Every group has a marker and a dash of its own besides.

use super::svg::Marker;

/// What a figure is seen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Theme {
    /// Dark on white
    #[default]
    Light,
    /// Light on nearly black
    Dark,
}

/// The colours of a theme.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Colours {
    pub background: &'static str,
    pub text: &'static str,
    /// Notes.
    pub muted: &'static str,
    pub axis: &'static str,
    pub grid: &'static str,
    /// Where a cell has no value.
    pub empty: &'static str,
    groups: &'static [&'static str],
    /// The part of the colour map that stands out from the background as a line.
    lines: (f64, f64),
}

const LIGHT: Colours = Colours {
    background: "#ffffff",
    text: "#1a1a1a",
    muted: "#595959",
    axis: "#4d4d4d",
    grid: "#e3e3e3",
    empty: "#ededed",
    groups: &["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#333333"],
    lines: (0.0, 0.88),
};

const DARK: Colours = Colours {
    background: "#15181c",
    text: "#ececec",
    muted: "#a8adb3",
    axis: "#9aa0a6",
    grid: "#2f343a",
    empty: "#262a2f",
    groups: &["#56b4e9", "#e69f00", "#1fb98f", "#e18fbd", "#f0e442", "#ec6f1a", "#d9d9d9"],
    lines: (0.25, 1.0),
};

/// Viridis at even steps: its lightness rises evenly, also where colours are not seen.
const VIRIDIS: [(u8, u8, u8); 10] = [
    (0x44, 0x01, 0x54),
    (0x48, 0x28, 0x78),
    (0x3e, 0x49, 0x89),
    (0x31, 0x68, 0x8e),
    (0x26, 0x82, 0x8e),
    (0x1f, 0x9e, 0x89),
    (0x35, 0xb7, 0x79),
    (0x6e, 0xce, 0x58),
    (0xb5, 0xde, 0x2b),
    (0xfd, 0xe7, 0x25),
];

const MARKERS: [Marker; 7] = [
    Marker::Circle,
    Marker::Square,
    Marker::Up,
    Marker::Diamond,
    Marker::Down,
    Marker::Cross,
    Marker::Plus,
];

const DASHES: [&str; 4] = ["", "7 3", "2 2.5", "9 3 2 3"];

/// What one group is drawn with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    pub colour: &'static str,
    pub marker: Marker,
    pub dash: &'static str,
}

impl Theme {
    pub(super) fn colours(self) -> Colours {
        match self {
            Theme::Light => LIGHT,
            Theme::Dark => DARK,
        }
    }
}

impl Colours {
    /// Of the group at this place: no two of the first 196 are alike, and each of the first seven
    /// has a colour and a marker of its own.
    pub fn mark(&self, group: usize) -> Mark {
        Mark {
            colour: self.groups[group % self.groups.len()],
            // As many as colours: the second seven have others.
            marker: MARKERS[(group + group / MARKERS.len()) % MARKERS.len()],
            dash: DASHES[group % DASHES.len()],
        }
    }

    /// The colour of a line whose value lies at `share` of its range.
    pub fn of_line(&self, share: f64) -> String {
        let (low, high) = self.lines;
        hex(viridis(low + share.clamp(0.0, 1.0) * (high - low)))
    }
}

/// The colour of an area whose value lies at `share` of its range, and that of text on it.
pub(super) fn of_area(share: f64) -> (String, &'static str) {
    let rgb = viridis(share);
    // Where black and white stand out alike.
    const MIDDLE: f64 = 0.18;
    let text = if luminance(rgb) > MIDDLE { "#000000" } else { "#ffffff" };
    (hex(rgb), text)
}

fn viridis(share: f64) -> [f64; 3] {
    let steps = (VIRIDIS.len() - 1) as f64;
    let place = if share.is_finite() { share.clamp(0.0, 1.0) * steps } else { 0.0 };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0..=9")]
    let at = (place.floor() as usize).min(VIRIDIS.len() - 2);
    let part = place - at as f64;
    let (from, to) = (VIRIDIS[at], VIRIDIS[at + 1]);
    let mix = |a: u8, b: u8| f64::from(a) + part * (f64::from(b) - f64::from(a));
    [mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2)]
}

fn hex([red, green, blue]: [f64; 3]) -> String {
    format!("#{:02x}{:02x}{:02x}", byte(red), byte(green), byte(blue))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
fn byte(value: f64) -> u8 {
    value.round() as u8
}

/// Relative luminance (WCAG 2), of 0 to 1.
fn luminance(rgb: [f64; 3]) -> f64 {
    let [red, green, blue] = rgb.map(|channel| {
        let part = channel / 255.0;
        if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rgb(hex: &str) -> [f64; 3] {
        [1, 3, 5].map(|at| f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()))
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let (a, b) = (luminance(rgb(a)), luminance(rgb(b)));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn marks_of_the_first_groups_differ_in_more_than_colour() {
        for colours in [LIGHT, DARK] {
            for a in 0..12 {
                for b in 0..a {
                    let (a, b) = (colours.mark(a), colours.mark(b));
                    assert_ne!((a.marker, a.dash), (b.marker, b.dash), "without colours");
                    assert_ne!((a.colour, a.marker), (b.colour, b.marker));
                    assert_ne!((a.colour, a.dash), (b.colour, b.dash));
                }
            }
            let marks: Vec<Mark> = (0..7).map(|group| colours.mark(group)).collect();
            for (a, b) in marks.iter().flat_map(|a| marks.iter().map(move |b| (a, b))) {
                assert_eq!(a == b, a.marker == b.marker, "curves have no dash of their own");
                assert_eq!(a == b, a.colour == b.colour);
            }
        }
    }

    /// 4.5 for text and 3 for shapes are the marks of WCAG 2; the two lightest of Okabe and Ito's
    /// colours fall short of it on white and have markers.
    #[test]
    fn text_and_groups_stand_out_from_the_background() {
        for colours in [LIGHT, DARK] {
            for text in [colours.text, colours.muted] {
                assert!(contrast(text, colours.background) >= 4.5, "{text}");
            }
            for group in colours.groups {
                assert!(contrast(group, colours.background) >= 2.0, "{group}");
            }
        }
    }

    #[test]
    fn text_on_areas_can_be_read() {
        for step in 0..=100 {
            let (area, text) = of_area(f64::from(step) / 100.0);
            assert!(contrast(&area, text) >= 4.5, "{step}: {area} {text}");
        }
        assert_eq!(of_area(f64::NAN).0, "#440154");
        assert_eq!(of_area(9.0).0, "#fde725");
    }
}
