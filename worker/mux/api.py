"""Create mux-python's client, which is imported with the first request."""

from typing import Any
from urllib.parse import unquote

import urllib3

from worker.network import proxy_for, tls_context
from worker.settings import Settings


class MuxApi:
    """The methods of mux-python's client that the worker calls.

    The import takes about a fifth of the time to the first scan, which often sends no request.
    """

    def __init__(self, settings: Settings) -> None:
        import mux_python

        configuration = mux_python.Configuration(
            host=settings.mux_base_url,
            username=settings.mux_token_id.get_secret_value(),
            password=settings.mux_token_secret.get_secret_value(),
        )
        self.client = mux_python.ApiClient(configuration)
        self.client.rest_client.pool_manager = _pool_for(settings.mux_base_url)
        uploads, assets = (
            mux_python.DirectUploadsApi(self.client),
            mux_python.AssetsApi(self.client),
        )
        self.get_upload, self.list_uploads = uploads.get_direct_upload, uploads.list_direct_uploads
        self.get_asset, self.list_assets = assets.get_asset, assets.list_assets


def _pool_for(url: str) -> urllib3.PoolManager:
    """Return connections with the proxy and certificates of `network`, without retries."""
    proxy = proxy_for(url)
    options: dict[str, Any] = {"ssl_context": tls_context(), "retries": False, "maxsize": 10}
    if proxy is None:
        return urllib3.PoolManager(**options)
    user = unquote(urllib3.util.parse_url(proxy).auth or "")
    headers = urllib3.make_headers(proxy_basic_auth=user or None)
    return urllib3.ProxyManager(proxy, proxy_headers=headers, **options)
