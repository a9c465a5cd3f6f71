"""Pictures in, bundles out: train a CycleGAN, judge it, export it. Needs torch; knows nothing of the service."""
