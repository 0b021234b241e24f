"""Packaging. `make setup` installs the locked versions; this file names the direct ones."""

from setuptools import find_packages, setup

setup(
    name="aw-moe",
    version="0.1.0",
    description="Attention-weighted mixture of experts for ranking in e-commerce search, on TensorFlow's stack",
    license="Apache-2.0",
    python_requires=">=3.11,<3.12",
    py_modules=["awmoe", "awmoe_demo", "awmoe_experiments", "awmoe_options"],
    packages=find_packages(include=["pipeline*", "model*", "export*", "serving*", "scoring*", "experiments*"]),
    package_data={"experiments.report": ["*.j2"]},
    install_requires=[
        "tensorflow==2.21.*",
        "tensorflow-recommenders==0.7.*",
        "tensorflow-serving-api==2.19.*",
        "apache-beam==2.77.*",
        "tfx-bsl==1.21.*",
        "tensorflow-metadata",
        "click",
        "grpcio",
        "numpy",
        "pandas",
        "pyarrow",
        "pydantic>=2",
        "pyyaml",
        "rich",
        "scikit-learn",
        "scipy",
        "jinja2",
        "matplotlib",
        "optuna",
        "umap-learn",
    ],
    entry_points={"console_scripts": ["awmoe=awmoe:main"]},
)
