"""From seeds to bundles: the KP graph, the value function, the plan, walks, and linked seeds."""
