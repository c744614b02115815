//! Rendering of handmade answers, as whole texts.
