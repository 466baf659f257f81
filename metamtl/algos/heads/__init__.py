"""Linear heads found in closed form or to convergence, so that they can be differentiated at their solution."""
