//! The ten glyphs of `strokes`, as polylines in a unit box, x to the right and y downwards.

use std::f64::consts::PI;

/// A point in the unit box.
pub(super) type Point = [f64; 2];

/// Points joined by straight segments.
pub(super) type Polyline = Vec<Point>;

/// Number of glyphs.
pub(super) const COUNT: usize = 10;

/// The glyphs of 0 to 9.
pub(super) fn all() -> [Vec<Polyline>; COUNT] {
    [
        vec![arc([0.50, 0.50], [0.28, 0.40], [-90.0, 270.0], 12)],
        vec![vec![[0.35, 0.25], [0.52, 0.10], [0.52, 0.90]]],
        vec![joined(
            arc([0.50, 0.32], [0.25, 0.22], [-170.0, 30.0], 6),
            vec![[0.25, 0.90], [0.78, 0.90]],
        )],
        vec![
            arc([0.47, 0.30], [0.24, 0.20], [-150.0, 90.0], 6),
            arc([0.47, 0.70], [0.27, 0.20], [-90.0, 150.0], 6),
        ],
        vec![vec![[0.62, 0.90], [0.62, 0.10], [0.22, 0.62], [0.80, 0.62]]],
        vec![joined(
            vec![[0.75, 0.10], [0.32, 0.10], [0.29, 0.47]],
            arc([0.48, 0.65], [0.27, 0.25], [-125.0, 140.0], 7),
        )],
        vec![joined(
            vec![[0.66, 0.10], [0.40, 0.36]],
            arc([0.50, 0.66], [0.24, 0.24], [-160.0, 200.0], 10),
        )],
        vec![vec![[0.22, 0.10], [0.78, 0.10], [0.42, 0.90]]],
        vec![
            arc([0.50, 0.30], [0.20, 0.20], [-90.0, 270.0], 8),
            arc([0.50, 0.70], [0.25, 0.20], [-90.0, 270.0], 8),
        ],
        vec![arc([0.50, 0.34], [0.24, 0.24], [0.0, 360.0], 10), vec![[0.70, 0.55], [0.60, 0.90]]],
    ]
}

/// An elliptic arc as a polyline; angles in degrees, 90 pointing down.
fn arc(centre: Point, radii: [f64; 2], degrees: [f64; 2], segments: u32) -> Polyline {
    let step = (degrees[1] - degrees[0]) / f64::from(segments);
    let point = |index: u32| {
        let angle = (degrees[0] + step * f64::from(index)) * PI / 180.0;
        [centre[0] + radii[0] * libm::cos(angle), centre[1] + radii[1] * libm::sin(angle)]
    };
    (0..=segments).map(point).collect()
}

/// One polyline that goes through both, one after the other.
fn joined(mut first: Polyline, second: Polyline) -> Polyline {
    first.extend(second);
    first
}
