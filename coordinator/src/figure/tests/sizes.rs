//! Sizes: whatever is drawn is legible, at the least size of a figure as well.

use super::super::layout::TICK_SIZE;
use super::super::text::width;
use super::*;

/// Where a text begins and ends, unless it is turned.
fn extent(node: Node<'_, '_>) -> Option<(f64, f64, f64)> {
    let number = |name| node.attribute(name)?.parse::<f64>().ok();
    if node.attribute("transform").is_some() {
        return None;
    }
    let wide = width(node.text().unwrap_or_default(), number("font-size")?);
    let start = match node.attribute("text-anchor") {
        Some("end") => number("x")? - wide,
        Some("middle") => number("x")? - wide / 2.0,
        _ => number("x")?,
    };
    Some((start, start + wide, number("y")?))
}

fn sized(width: u32, height: u32) -> Look {
    Look { size: Some(Size { width, height }), ..Look::default() }
}

/// The smallest size at which the figure is not refused, from this one on.
fn least(answers: &Answers, request: &Request, width: u32) -> (u32, u32) {
    match answers.draw(request.clone(), sized(width, Size::MIN.height)) {
        Err(FigureError::Room { least: [width, height], .. }) => (width, height),
        Ok(_) => (width, Size::MIN.height),
        Err(error) => panic!("{error}"),
    }
}

/// Twelve groups with long names, spreads, lost trials, and notes of all kinds.
fn crowded() -> Answers {
    let mut rows = Vec::new();
    for at in 0..72 {
        let (group, depth, seed) = (at / 6, [2, 10, 40][at % 3], if at % 6 < 3 { 0 } else { 1 });
        let state = if at % 11 == 5 { "diverged" } else { "completed" };
        let value = if at % 11 == 5 { f64::NAN } else { 0.01 * (1 + at) as f64 };
        let name = format!("orthogonal initial weights {group}");
        rows.push(Row(vec![word(&name), whole(depth)], seed, state, value));
    }
    Answers::new(&["init", "depth"], &rows)
}

/// The area between the axes: the first two lines of class `axis` in the node.
fn area(node: Node<'_, '_>) -> [f64; 4] {
    let number = |node: Node<'_, '_>, name| node.attribute(name).unwrap().parse::<f64>().unwrap();
    let mut axes = node.descendants().filter(|it| it.attribute("class") == Some("axis"));
    let (y, x) = (axes.next().unwrap(), axes.next().unwrap());
    [number(x, "x1"), number(x, "x2"), number(y, "y1"), number(y, "y2")]
}

/// Middles of the shapes of a class.
fn middles(node: Node<'_, '_>, class: &str) -> Vec<(f64, f64)> {
    let of_class = node.descendants().filter(|it| it.attribute("class") == Some(class));
    let middle = |node: Node<'_, '_>| {
        let number = |name| node.attribute(name)?.parse::<f64>().ok();
        if let (Some(x), Some(y)) = (number("cx"), number("cy")) {
            return (x, y);
        }
        let points: Vec<(f64, f64)> = node
            .attribute("points")
            .unwrap()
            .split(' ')
            .filter_map(|it| it.split_once(','))
            .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
            .collect();
        let count = points.len() as f64;
        let sum = points.iter().fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        (sum.0 / count, sum.1 / count)
    };
    of_class.map(middle).collect()
}

#[test]
fn texts_lie_within_the_figure_and_not_on_each_other() {
    for answers in [Answers::small(), crowded(), paper::answers(Some("small"))] {
        for request in requests() {
            // Of three parameters and more a heat map shows the best.
            let request = match request {
                Request::Plot(plot) if plot.kind == Kind::Heat => {
                    Request::Plot(Plot { best_by: Some("val_error".into()), ..plot })
                }
                request => request,
            };
            let narrow = [280, 320, 360, 560, 700].map(|across| least(&answers, &request, across));
            let wide = [(480, 560), (720, 560), (1_200, 800)];
            for (across, down) in narrow.into_iter().chain(wide) {
                let drawn = answers.draw(request.clone(), sized(across, down));
                check_texts(&drawn.unwrap(), across, down, &format!("{request:?}"));
            }
        }
    }
}

fn check_texts(svg: &str, across: u32, down: u32, request: &str) {
    let document = Document::parse(svg).unwrap();
    let mut extents = Vec::new();
    for node in document.descendants().filter(|node| node.has_tag_name("text")) {
        let Some((left, right, y)) = extent(node) else { continue };
        let what = format!("{:?} of {request} at {across}x{down}", node.text());
        assert!(left >= -1.0 && right <= f64::from(across) + 1.0, "{what}: {left} {right}");
        assert!(y > 8.0 && y <= f64::from(down), "{what}: {y}");
        for (l, r, at, other) in &extents {
            let apart = right <= *l || *r <= left || f64::abs(y - at) >= 0.8 * TICK_SIZE;
            assert!(apart, "{what} and {other}");
        }
        extents.push((left, right, y, what));
    }
}

proptest! {
    /// At the least size of a figure, whatever its width, values can be compared: a point of 90 %
    /// does not lie on the tick of 0.
    #[test]
    fn points_of_different_values_lie_at_different_heights_within_the_panel(
        values in prop::collection::vec(0.0..1.0f64, 2..8), across in 280..900u32,
        groups in 1..8u32,
    ) {
        let mut rows = Vec::new();
        for group in 0..groups {
            for (value, depth) in values.iter().zip(1..) {
                let settings = vec![word(&format!("relu {group}")), whole(depth)];
                rows.push(Row(settings, 0, "completed", *value));
            }
        }
        let answers = Answers::new(&["activation", "depth"], &rows);
        let request = Request::Plot(line("depth"));
        let (across, down) = least(&answers, &request, across);
        let svg = answers.draw(request, sized(across, down)).unwrap();
        let document = Document::parse(&svg).unwrap();
        let [left, right, top, bottom] = area(document.root());
        prop_assert!(bottom - top >= 79.9 && right - left >= 79.9, "{across}x{down}");
        let marks = middles(document.root(), "mean");
        prop_assert_eq!(marks.len(), rows.len());
        for ((x, y), row) in marks.iter().zip(&rows) {
            prop_assert!(*x >= left && *x <= right && *y >= top - 1.0 && *y <= bottom + 1.0);
            for ((_, other_y), other) in marks.iter().zip(&rows) {
                // Of 80 pixels for at most 100 %.
                let is_higher = *y < other_y - 3.0;
                prop_assert!(is_higher || row.3 < other.3 + 0.06, "{:?} {:?}", row, other);
            }
        }
    }
}

#[test]
fn curves_keep_a_height_in_each_of_their_panels() {
    for answers in [Answers::small(), crowded()] {
        let request = Request::Curves(curves());
        let (across, down) = least(&answers, &request, 280);
        let svg = answers.draw(request, sized(across, down)).unwrap();
        let document = Document::parse(&svg).unwrap();
        for (panel, height) in of_class(&document, "panel").into_iter().zip([47.9, 47.9, 15.0]) {
            let [_, _, top, bottom] = area(panel);
            assert!(bottom - top >= height, "{down}: {top} {bottom}");
        }
        let ends = middles(of_class(&document, "val_error")[0], "point");
        assert!(ends.iter().any(|it| (it.1 - ends[0].1).abs() > 5.0), "{ends:?}");
    }
}

/// What is left out first are the notes.
#[test]
fn figures_without_room_say_what_they_need() {
    let error = crowded().draw(Request::Plot(line("depth")), sized(280, 200)).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("a figure of 280x200 has no room for what it shows; "), "{text}");
    assert!(error.is_mistake() && text.contains("--size enlarges it"), "{text}");
    let request = Request::Plot(line("depth"));
    let (across, down) = least(&crowded(), &request, 280);
    let svg = crowded().draw(request.clone(), sized(across, down)).unwrap();
    assert_eq!(count(&svg, "note"), 0);
    assert_eq!(count(&svg, "legend-entry"), 13);
    let svg = crowded().draw(request, sized(across, down + 200)).unwrap();
    assert!(notes(&svg).contains("Not in the mean"), "{}", notes(&svg));
}
