"""Shows the examples of docstrings as code: Markdown takes a line that begins with `>>>` for a quotation."""

from markdown import Extension
from markdown.preprocessors import Preprocessor


class _Fences(Preprocessor):
    def run(self, lines):
        shown, inside, fenced = [], False, False
        for line in lines:
            if line.lstrip().startswith("```"):
                fenced = not fenced
            if not fenced and not inside and line.startswith(">>>"):
                shown.append("```python")
                inside = True
            elif inside and not line.strip():
                shown.append("```")
                inside = False
            shown.append(line)
        return [*shown, "```"] if inside else shown


class _Doctests(Extension):
    def extendMarkdown(self, md):
        md.preprocessors.register(_Fences(md), "doctests", 40)  # before the fences are read, at 25


def on_config(config):
    """Add the extension for the pages and for what mkdocstrings renders."""
    config.markdown_extensions.append(_Doctests())
    return config
