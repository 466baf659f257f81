"""Where tasks come from: data sets, the packed store and the episode sampler (numpy only), and their tensors."""
