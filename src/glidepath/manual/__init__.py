"""The pages of the manual that follow from the code: keys of a YAML file, columns of tables."""
