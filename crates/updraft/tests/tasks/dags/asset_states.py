"""What tasks keep with assets, through the Task SDK."""

from airflow.sdk import DAG, Asset, AssetAlias, task

ORDERS = Asset(name="orders", uri="s3://shop/orders")
OTHER = Asset(name="other", uri="s3://shop/other")

with DAG("asset_states"):

    @task(inlets=[ORDERS, OTHER, AssetAlias("nobody")])
    def keeps(asset_state_store=None):
        store = asset_state_store[ORDERS]
        before = store.get("runs", default=0)
        store.set("runs", before + 1)
        store.set("with/slash", {"pages": [1, 2.5, None]})
        store.set("gone", True)
        store.delete("gone")
        store.delete("never was")
        assert store.get("gone", default="none") == "none"
        assert asset_state_store[OTHER].get("runs") is None
        try:
            asset_state_store[Asset("third")]
        except KeyError:
            return before

    @task(inlets=[Asset.ref(uri="s3://shop/orders")])
    def reads_by_uri(asset_state_store=None):
        asset_state_store.set("by_uri", [1])
        return [asset_state_store.get("runs"), asset_state_store.get("with/slash"), asset_state_store.get("by_uri")]

    @task(outlets=[OTHER])
    def clears(asset_state_store=None):
        asset_state_store.set("a", 1)
        asset_state_store.set("b", 2)
        asset_state_store.clear()
        return [asset_state_store.get("a"), asset_state_store.get("b")]

    @task(inlets=[ORDERS])
    def refuses(asset_state_store=None):
        from airflow.sdk.exceptions import AirflowRuntimeError
        from airflow.sdk.execution_time.context import AssetStateStoreAccessor

        said = []
        for store, key in ((asset_state_store, "k" * 513), (AssetStateStoreAccessor(name="unknown"), "k")):
            try:
                store.set(key, 1)
            except AirflowRuntimeError as error:
                said.append(str(error))
        assert AssetStateStoreAccessor(name="unknown").get("k", default="none") == "none"
        return ["512" in said[0], "'unknown' not found" in said[1]]

    keeps() >> reads_by_uri() >> clears() >> refuses()
