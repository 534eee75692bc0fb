"""The results page: one HTML file that holds all tables, charts and where each number comes from."""

from bench.show.page.content import Content, content
from bench.show.page.images import add_images
from bench.show.page.write import LARGEST, write_page

__all__ = ["LARGEST", "Content", "add_images", "content", "write_page"]
