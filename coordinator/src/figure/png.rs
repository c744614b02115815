//! A figure as pixels, with a font of our own: hosts that train often have none.

use std::panic::catch_unwind;
use std::sync::{OnceLock, mpsc};
use std::thread;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

use tokio::sync::oneshot;

use super::error::FigureError;

/// DejaVu Sans, of its characters those of Latin and Greek scripts and some signs; the licence is
/// beside it. Made of version 2.37 by `pyftsubset --no-hinting --layout-features=kern`.
const FONT: &[u8] = include_bytes!("font/DejaVuSans.ttf");
const FONT_FAMILY: &str = "DejaVu Sans";
/// Pixels of a picture per pixel of its figure each way, so that it is sharp on paper and on fine
/// screens.
const PIXELS_PER_PIXEL: f32 = 2.0;
/// Pixels of a picture: each takes eight bytes, four drawn and four to be written.
const PIXELS_MAX: f32 = 5e6;

/// A figure to be drawn, and who waits for it.
type Job = (String, oneshot::Sender<Result<Vec<u8>, FigureError>>);

/// As `png`, one after the other on one thread: a picture takes tens of megabytes, and an allocator
/// keeps what a thread has used for that thread.
pub async fn png_in_turn(svg: String) -> Result<Vec<u8>, FigureError> {
    static PAINTER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let painter = PAINTER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel();
        // Without the thread nobody takes a job, which who asks is told.
        drop(thread::Builder::new().name("painter".into()).spawn(move || paint(&jobs)));
        sender
    });
    let (answer, made) = oneshot::channel();
    // An answer that was dropped is an answer as well.
    drop(painter.send((svg, answer)));
    made.await.unwrap_or_else(|_| Err(FigureError::Png { why: "its thread has failed".into() }))
}

fn paint(jobs: &mpsc::Receiver<Job>) {
    for (svg, answer) in jobs {
        // Who asked may have gone.
        if answer.is_closed() {
            continue;
        }
        // A figure that cannot be drawn is no reason to draw no other.
        if let Ok(made) = catch_unwind(|| png(&svg)) {
            drop(answer.send(made));
        }
    }
}

/// The figure as a PNG file of twice its width and height, or as many pixels as it may have.
pub fn png(svg: &str) -> Result<Vec<u8>, FigureError> {
    let wrong = |why: String| FigureError::Png { why };
    let tree = Tree::from_str(svg, &options()).map_err(|error| wrong(error.to_string()))?;
    let size = tree.size().to_int_size();
    let scale = pixels_per_pixel(size.width() as f32, size.height() as f32);
    let size = size.scale_by(scale).ok_or_else(|| wrong("it has no size".into()))?;
    let mut pixels = Pixmap::new(size.width(), size.height())
        .ok_or_else(|| wrong(format!("{}x{} pixels", size.width(), size.height())))?;
    resvg::render(&tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| wrong(error.to_string()))
}

fn pixels_per_pixel(width: f32, height: f32) -> f32 {
    (PIXELS_MAX / (width * height)).sqrt().min(PIXELS_PER_PIXEL)
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
    use crate::figure::{Size, text};

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

    /// Memory is that of one picture, and of its pixels.
    #[tokio::test]
    async fn pixels_are_bounded_and_pictures_are_made_one_by_one() {
        let Size { width, height } = Size::MAX;
        let svg = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}'></svg>"
        );
        let (bytes, wrong, again) =
            tokio::join!(png_in_turn(svg.clone()), png_in_turn("<svg".into()), png_in_turn(svg));
        let bytes = bytes.unwrap();
        assert!(matches!(wrong, Err(FigureError::Png { .. })));
        assert_eq!(again.unwrap().len(), bytes.len(), "one after the other");
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let (drawn_width, drawn_height) = (number(16), number(20));
        assert!(drawn_width * drawn_height <= 5_010_000, "{drawn_width}x{drawn_height}");
        assert!((drawn_width * height).abs_diff(drawn_height * width) < 8_000, "its shape");
        assert_eq!(pixels_per_pixel(1_200.0, 1_000.0), 2.0);
    }

    #[test]
    fn what_is_no_figure_is_refused() {
        assert!(matches!(png("<svg"), Err(FigureError::Png { .. })));
    }
}
