"""Makes the modules beside it (`package_kit`) importable from every test."""
