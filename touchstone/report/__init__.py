"""From tables to pages: material, sections, figures, HTML and PDF; without torch."""
