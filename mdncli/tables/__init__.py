"""Reading and writing tables: CSV and Parquet files, compressed or not."""
