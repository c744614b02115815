//! How wide text is, and what fits: by the font that pictures are drawn with. A browser's own
//! fonts are rarely wider than this one.

/// The font of pictures first, then those of its width, then any.
pub(super) const FAMILY: &str = "DejaVu Sans, Verdana, Liberation Sans, sans-serif";

/// Widths of the characters from blank to tilde in DejaVu Sans, in thousandths of the size.
const ADVANCES: [u16; 95] = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
];
/// Of any other character.
const ADVANCE_OTHER: u16 = 838;

/// Width of a line of text in pixels.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let thousandths: f64 = text.chars().map(|c| f64::from(advance(c))).sum();
    thousandths / 1_000.0 * size
}

fn advance(c: char) -> u16 {
    let from_blank = u32::from(c).checked_sub(u32::from(' '));
    let at = from_blank.and_then(|at| usize::try_from(at).ok());
    at.and_then(|at| ADVANCES.get(at)).copied().unwrap_or(ADVANCE_OTHER)
}

/// The text, or its start with an ellipsis where it is wider than `width_max`.
pub(super) fn shortened(text: &str, size: f64, width_max: f64) -> String {
    if width(text, size) <= width_max {
        return text.to_owned();
    }
    let room = width_max - width("…", size);
    let mut used = 0.0;
    let mut start = String::new();
    for c in text.chars() {
        used += f64::from(advance(c)) / 1_000.0 * size;
        if used > room {
            break;
        }
        start.push(c);
    }
    format!("{}…", start.trim_end())
}

/// The text in lines of at most `width_max`, broken at blanks; what does not fit into `lines_max`
/// is cut.
pub(super) fn wrapped(text: &str, size: f64, width_max: f64, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size) <= width_max => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    if lines_max == 0 {
        return Vec::new();
    }
    if lines.len() > lines_max {
        let rest = lines.split_off(lines_max.saturating_sub(1)).join(" ");
        lines.push(rest);
    }
    lines.iter().map(|line| shortened(line, size, width_max)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_wrapped_at_blanks_and_cut_at_the_last_line() {
        let lines = wrapped("one two three four five six", 10.0, 60.0, 2);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "one two");
        assert!(lines[1].starts_with("three") && lines[1].ends_with('…'), "{lines:?}");
        assert_eq!(wrapped("", 10.0, 60.0, 2), Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn shortened_text_fits(text in any::<String>(), width_max in 20.0..500.0f64) {
            let short = shortened(&text, 12.0, width_max);
            prop_assert!(width(&short, 12.0) <= width_max + 1e-9);
            prop_assert!(short == text || short.ends_with('…'));
        }

        #[test]
        fn wrapped_lines_fit(text in any::<String>(), lines_max in 0..4usize) {
            let lines = wrapped(&text, 11.0, 200.0, lines_max);
            prop_assert!(lines.len() <= lines_max);
            prop_assert!(lines.iter().all(|line| width(line, 11.0) <= 200.0 + 1e-9));
        }
    }
}
