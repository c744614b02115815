//! A figure as pixels, with a font of our own: hosts that train often have none.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

use super::error::FigureError;

/// DejaVu Sans, of its characters those of Latin and Greek scripts and some signs; the licence is
/// beside it. Made of version 2.37 by `pyftsubset --no-hinting --layout-features=kern`.
const FONT: &[u8] = include_bytes!("font/DejaVuSans.ttf");
const FONT_FAMILY: &str = "DejaVu Sans";
/// Pixels of a picture per pixel of its figure, so that it is sharp on paper and on fine screens.
const PIXELS_PER_PIXEL: f32 = 2.0;

/// The figure as a PNG file of twice its width and height.
pub fn png(svg: &str) -> Result<Vec<u8>, FigureError> {
    let wrong = |why: String| FigureError::Png { why };
    let tree = Tree::from_str(svg, &options()).map_err(|error| wrong(error.to_string()))?;
    let size = tree.size().to_int_size();
    let size = size.scale_by(PIXELS_PER_PIXEL).ok_or_else(|| wrong("it has no size".into()))?;
    let mut pixels = Pixmap::new(size.width(), size.height())
        .ok_or_else(|| wrong(format!("{}x{} pixels", size.width(), size.height())))?;
    let scale = Transform::from_scale(PIXELS_PER_PIXEL, PIXELS_PER_PIXEL);
    resvg::render(&tree, scale, &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| wrong(error.to_string()))
}

fn options() -> Options<'static> {
    let mut options = Options { font_family: FONT_FAMILY.into(), ..Options::default() };
    let fonts = options.fontdb_mut();
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family(FONT_FAMILY);
    options
}

#[cfg(test)]
mod tests {
    use resvg::usvg::{Group, Node};

    use super::*;
    use crate::figure::text;

    fn width_of(text: &str) -> f64 {
        let svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='900' height='40' \
             font-family='{}'><text x='10' y='20' font-size='20'>{text}</text></svg>",
            text::FAMILY
        );
        let tree = Tree::from_str(&svg, &options()).unwrap();
        let find = |group: &Group| {
            group.children().iter().find_map(|node| match node {
                Node::Text(text) => Some(f64::from(text.bounding_box().width())),
                _ => None,
            })
        };
        find(tree.root()).unwrap()
    }

    /// What the layout takes texts to be is what the font makes of them.
    #[test]
    fn texts_are_as_wide_as_the_layout_takes_them() {
        for text in ["test error (%)", "activation, init gain", "0123456789", "grelu, 1.414"] {
            let (drawn, taken) = (width_of(text), text::width(text, 20.0));
            assert!((drawn - taken).abs() < 0.04 * taken, "{text}: {drawn} {taken}");
        }
        for greek in ["τ", "σ", "±", "–"] {
            assert!(width_of(greek) <= text::width(greek, 20.0), "{greek}");
        }
    }

    #[test]
    fn pictures_have_twice_the_size_and_the_text() {
        let svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='60' height='40' \
             font-family='{}'><text x='5' y='30' font-size='30'>τ</text></svg>",
            text::FAMILY
        );
        let png = png(&svg).unwrap();
        let pixels = Pixmap::decode_png(&png).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (120, 80));
        assert!(pixels.pixels().iter().any(|pixel| pixel.alpha() > 200), "the letter is there");
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        assert!(matches!(png("<svg"), Err(FigureError::Png { .. })));
    }
}
