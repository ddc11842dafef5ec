import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['dist', 'dist.new', 'build', 'node_modules', 'runs', 'prebuilds'] },
  ...tseslint.configs.strict,
  {
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off', // typed arrays under noUncheckedIndexedAccess need it on every read
      '@typescript-eslint/no-unused-vars': ['error', { ignoreUsingDeclarations: true }], // what is only held
      '@typescript-eslint/consistent-type-imports': 'error',
      eqeqeq: 'error',
    },
  },
);
