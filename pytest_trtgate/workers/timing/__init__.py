"""The jobs that time engines: a launch of interleaved arms, and a profile by layer."""
