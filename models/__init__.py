"""The bundle format for trained generators, with one folder per direction, and the bundles that come with the project."""
