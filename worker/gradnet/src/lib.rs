//! GradNet components and models on libtorch.
