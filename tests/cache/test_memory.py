from faceattr_aio.cache.memory import MemoryCache, open_cache
from faceattr_aio.config.schema import CacheConfig


async def test_the_one_that_was_asked_for_longest_ago_goes_first() -> None:
    cache = MemoryCache(entries=2, seconds=60)
    await cache.put("a", "1")
    await cache.put("b", "2")
    assert await cache.get("a") == "1"
    await cache.put("c", "3")
    assert [await cache.get(key) for key in "abc"] == ["1", None, "3"]


async def test_what_is_too_old_is_not_known_any_more() -> None:
    clock = [0.0]
    cache = MemoryCache(entries=2, seconds=60, clock=lambda: clock[0])
    await cache.put("a", "1")
    clock[0] = 59.0
    assert await cache.get("a") == "1"
    clock[0] = 60.0
    assert await cache.get("a") is None


async def test_once_closed_it_holds_nothing() -> None:
    cache = MemoryCache(entries=2, seconds=60)
    await cache.put("a", "1")
    await cache.close()
    assert await cache.get("a") is None


def test_the_settings_say_which_one() -> None:
    assert isinstance(open_cache(CacheConfig()), MemoryCache)
    assert open_cache(CacheConfig(backend="none")) is None
