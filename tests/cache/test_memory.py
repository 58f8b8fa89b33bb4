from faceattr_aio.cache.memory import MemoryCache, open_cache
from faceattr_aio.config.schema import CacheConfig


async def test_evicts_the_least_recently_used_value() -> None:
    cache = MemoryCache(entries=2, seconds=60)
    await cache.put("a", "1")
    await cache.put("b", "2")
    assert await cache.get("a") == "1"
    await cache.put("c", "3")
    assert [await cache.get(key) for key in "abc"] == ["1", None, "3"]


async def test_a_value_expires() -> None:
    clock = [0.0]
    cache = MemoryCache(entries=2, seconds=60, clock=lambda: clock[0])
    await cache.put("a", "1")
    clock[0] = 59.0
    assert await cache.get("a") == "1"
    clock[0] = 60.0
    assert await cache.get("a") is None


async def test_a_closed_cache_is_empty() -> None:
    cache = MemoryCache(entries=2, seconds=60)
    await cache.put("a", "1")
    await cache.close()
    assert await cache.get("a") is None


def test_the_settings_select_the_backend() -> None:
    assert isinstance(open_cache(CacheConfig()), MemoryCache)
    assert open_cache(CacheConfig(backend="none")) is None
