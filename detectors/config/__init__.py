"""Words to a composed config, and a config to finished parts."""
